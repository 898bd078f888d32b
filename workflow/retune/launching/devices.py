"""Whether a machine has the GPUs of the plan."""

import socket

from retune.artifacts.plan import Plan
from retune.errors import RetuneError


def check_devices(plan: Plan) -> None:
    """Raise RetuneError if this machine has fewer GPUs than ranks are to run on it."""
    if plan.accelerator != "cuda":
        return
    import torch

    there, wanted = torch.cuda.device_count(), plan.ranks_per_node
    if there < wanted:
        raise RetuneError(
            f"hardware.ranks_per_node: the plan is for {wanted} GPUs,"
            f" {socket.gethostname()} shows {there}; change it, or run finetune where"
            " they are"
        )

"""Whether a machine has the devices of the plan."""

import socket
from typing import Any

from retune.errors import RetuneError


def check_devices(facts: dict[str, Any]) -> None:
    """Raise RetuneError if this machine cannot hold its ranks of the plan."""
    if facts["hardware"]["accelerator"] != "cuda":
        return
    import torch

    there, wanted = torch.cuda.device_count(), facts["hardware"]["gpus_per_node"]
    if there < wanted:
        raise RetuneError(
            f"hardware.gpus_per_node: the plan is for {wanted} GPUs,"
            f" {socket.gethostname()} shows {there}; change it, or run finetune where"
            " they are"
        )

"""Replaces normalisation, rotary embedding and gated MLP by Liger's Triton kernels."""

from transformers import PreTrainedModel

from retune.artifacts.plan import Plan
from retune.compat.liger_kernel import liger_families, pin_triton
from retune.errors import RetuneError
from retune.planning.liger_version import INSTALL, version_problem

# The loss is not Liger's: the engines compute it.
PARTS = {"cross_entropy": False, "fused_linear_cross_entropy": False}


def use_liger_kernels(model: PreTrainedModel, plan: Plan) -> None:
    """Let a model compute with Liger's kernels, if a plan says so.

    Parameters and modules keep their names. In this process, models of the family that
    are made later take Liger's kernels, too.

    Args:
        model: The model, which may be on the meta device.
        plan: The plan of the training.

    Raises:
        RetuneError: If liger-kernel is not installed in a version that is wanted, or
            has none for the family.
    """
    if not plan.use_liger_kernel:
        return
    setting = "configure.use_liger_kernel"
    if problem := version_problem():
        raise RetuneError(f"{setting}: {problem}: {INSTALL}, or write false")
    try:
        pin_triton()
        families = liger_families()
    except ImportError as error:
        raise RetuneError(
            f"{setting} needs liger-kernel, which cannot be imported"
            f" ({str(error).splitlines()[0]}): {INSTALL}, or write false"
        ) from error
    if (kind := model.config.model_type) not in families:
        raise RetuneError(
            f"{setting}: Liger has no kernels for {kind} models; write false"
        )
    # It imports peft, which imports bitsandbytes where that is installed: a second.
    from transformers.integrations.liger import apply_liger_kernel

    apply_liger_kernel(model, PARTS)

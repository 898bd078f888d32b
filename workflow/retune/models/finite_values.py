"""Whether a tensor holds numbers only."""

import torch


def is_finite(tensor: torch.Tensor) -> bool:
    """Return whether no element is NaN or infinite: one pass, without a copy."""
    if not tensor.is_floating_point() or tensor.numel() == 0:
        return True
    # A NaN anywhere makes both of them NaN.
    least, greatest = tensor.aminmax()
    return bool(least.isfinite() and greatest.isfinite())

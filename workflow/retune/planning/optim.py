"""The optimizer of a plan, and what AdamW in 8 bits saves and costs."""

from retune.artifacts.plan import Decision
from retune.errors import RetuneError
from retune.planning.memory import SAVED_BY_8_BITS
from retune.quantities import parameters, size
from retune.settings import Accelerator, ConfigureSettings, Optim


def choose_optim(
    settings: ConfigureSettings,
    accelerator: Accelerator,
    num_8bit_moments: int,
    num_trained: int,
) -> Decision[Optim]:
    """Return the optimizer.

    Args:
        settings: The `configure` section.
        accelerator: Kind of device that the ranks compute on.
        num_8bit_moments: Number of trained parameters whose moments could have 8 bits.
        num_trained: Number of trained parameters.

    Raises:
        RetuneError: If AdamW in 8 bits is set and would be that in 32 bits.
    """
    if settings.optim == "adamw":
        return Decision("optim", "adamw", "the default")
    if num_8bit_moments == 0:
        raise RetuneError(
            "configure.optim: adamw_8bit, but no trained matrix beside the embeddings"
            " has 4,096 elements, so all moments would have 32 bits; write adamw"
        )
    saved = round(num_8bit_moments * SAVED_BY_8_BITS)
    cost = (
        ". On CPUs bitsandbytes unpacks all of them in each step, which takes more"
        " memory for that moment, and time"
    )
    return Decision(
        "optim",
        "adamw_8bit",
        f"set in params.yaml; Adam's moments of {parameters(num_8bit_moments)}, of"
        f" {parameters(num_trained)} that are trained, take 2 bytes instead of 8:"
        f" {size(saved)} less over all ranks. Each is rounded to one of 256 values, by"
        f" a scale for 256 moments{cost if accelerator == 'cpu' else ''}",
    )

"""How much of its GPUs a training used; the model card goes without it.

The peaks of GPUs that are known change with this library, and `report.peak_tflops`
with the reader: neither is to publish a model anew.
"""

from retune.measuring.peak_flops import peak_flops, utilisation
from retune.reporting.run_results import ReportResults


def model_flops_utilisation(run: ReportResults) -> float | None:
    """Return the fraction of its GPUs' peak FLOP/s that a training used.

    None where the peak or the model's FLOPs are not known.
    """
    peak = run.settings.report.peak_tflops
    return utilisation(
        run.finetune.flops_per_token,
        run.finetune.computed_tokens_per_second,
        peak_flops(run.finetune.device, run.plan.precision)
        if peak == "auto"
        else peak * 1e12,
        run.plan.world_size,
    )

"""How long a training is predicted to take, and what it costs, in words."""

from retune.artifacts.plan import Plan
from retune.planning.prediction_line import seconds
from retune.planning.step_time import StepTime
from retune.quantities import counted, duration

HOUR = 3600
# Parts of a step that are named, in this order, if they are so much of it.
LEAST_SHARE = 0.02
PARTS = {
    "computing": "computing",
    "communicating": "sending between GPUs",
    "offloading": "main memory and disks",
    "optimizer": "the optimizer",
    "waiting": "waiting in the pipeline",
}


def step_text(plan: Plan, time: StepTime) -> str:
    """Return how long a step takes, and with what."""
    shares = {words: getattr(time, name) for name, words in PARTS.items()}
    told = [
        f"{words} {part / time.seconds:.0%}"
        for words, part in shares.items()
        if part >= LEAST_SHARE * time.seconds
    ]
    speed = plan.tokens_per_step / time.seconds
    return (
        f"A step takes about {seconds(time.seconds)} s ({', '.join(told)}):"
        f" {speed:,.0f} tokens/s"
    )


def run_text(
    plan: Plan, time: StepTime, steps: float, price_per_gpu_hour: float | None
) -> str:
    """Return how long so many steps take, and what they cost."""
    whole = steps * time.seconds
    gpu_hours = whole / HOUR * plan.world_size
    text = f"{duration(whole)}, {gpu_hours:,.1f} GPU-hours"
    if price_per_gpu_hour is not None:
        text += (
            f", {gpu_hours * price_per_gpu_hour:,.2f} at {price_per_gpu_hour:g} each"
        )
    return f"{counted(round(steps), 'step')}: {text}"

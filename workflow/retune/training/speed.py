"""How fast training is: the parts of a step, tokens per second, use of the hardware."""

import math
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedConfig

GB = 1e9

# The parts of a step that history records as <part>_seconds.
PARTS = ("data", "forward", "backward", "optimizer", "save")

# Dense TFLOP/s of one device, by the words of its name: bf16 and fp16 on matrix units
# with fp32 accumulation, and fp32 without TF32, which torch does not use by default.
# From the makers' data sheets and white papers; NVIDIA's often print twice as much,
# for sparse matrices. None: no figure we trust.
PEAK_TFLOPS: dict[str, tuple[float, float | None]] = {
    "B200": (2250, 75),
    "GB200": (2500, 80),
    "GH200": (989, 67),
    "H200": (989, 67),
    "H200 NVL": (835, 60),
    "H100": (989, 67),
    "H100 NVL": (835, 60),
    "H100 PCIE": (756, 51),
    "A100": (312, 19.5),
    "A40": (149.7, 37.4),
    "A30": (165, 10.3),
    "A10": (125, 31.2),
    "A10G": (70, None),
    "L40S": (362, 91.6),
    "L40": (181, 90.5),
    "L4": (121, 30.3),
    "V100": (125, 15.7),
    "V100 PCIE": (112, 14),
    "T4": (65, 8.1),
    "RTX 3090": (71, 35.6),
    "RTX 4090": (165, 82.6),
    "MI300X": (1307, 163.4),
    # One of the package's two dies: torch calls each a device.
    "MI250X": (191.5, 23.9),
}
WITHOUT_BF16 = {"V100", "T4"}
# A part of a device, or a slower one of the same name.
OTHER_DEVICE = {"MIG", "LAPTOP", "MAX", "D", "TI"}


def peak_flops(device_name: str, precision: str) -> float | None:
    """Return the FLOP/s of a device, as torch names it, without sparsity.

    Args:
        device_name: Such as "NVIDIA H100 80GB HBM3".
        precision: fp32, bf16 or fp16.

    Returns:
        None where it is not known, as for CPUs.
    """
    words = set(device_name.upper().replace("-", " ").split())
    found = [name for name in PEAK_TFLOPS if words.issuperset(name.split())]
    if not found or words & OTHER_DEVICE:
        return None
    if precision == "bf16" and words & WITHOUT_BF16:
        return None
    half, single = PEAK_TFLOPS[max(found, key=lambda name: len(name.split()))]
    tflops = single if precision == "fp32" else half
    return None if tflops is None else tflops * 1e12


def multiplying_weights(model: "nn.Module") -> tuple[int, int]:
    """Return how many weights a token is multiplied with: trained ones, frozen ones.

    All matrices but the tables of embeddings, which are looked up; an output head that
    shares its weights with one counts. The model must be whole: on the meta device,
    with adapters, or sharded by ZeRO-3, but no stage of a pipeline.
    """
    trained = frozen = 0
    for module in model.modules():
        if hasattr(module, "num_embeddings"):
            continue
        for weight in module.parameters(recurse=False):
            # Under ZeRO-3 a weight has lost its shape; ds_shape remembers it.
            shape = getattr(weight, "ds_shape", weight.shape)
            if len(shape) < 2:
                continue
            if weight.requires_grad:
                trained += math.prod(shape)
            else:
                frozen += math.prod(shape)
    return trained, frozen


def model_flops_per_token(
    config: "PreTrainedConfig", trained: int, frozen: int, sequence_length: int
) -> float | None:
    """Return the FLOPs of the forward and backward pass, per token of a sequence.

    6 for each weight that multiplies plus 12 x layers x heads x head size x sequence
    length for attention (Chowdhery et al., PaLM, 2022, appendix B): attention counts
    as if each token saw the whole sequence, neither halved for the causal mask nor
    less for packed documents, as is the convention. A frozen weight counts 4: it has
    no gradient. Recomputed activations do not count.

    Args:
        config: The model's.
        trained: Weights that multiply (see `multiplying_weights`).
        frozen: The same, of those that are not trained.
        sequence_length: Tokens.

    Returns:
        None for a mixture of experts, which multiplies with some of its weights only.
    """
    config = config.get_text_config()
    if getattr(config, "num_experts_per_tok", None):
        return None
    heads = config.num_attention_heads
    head_size = getattr(config, "head_dim", None) or config.hidden_size // heads
    attention = config.num_hidden_layers * heads * head_size * sequence_length
    return float(6 * trained + 4 * frozen + 12 * attention)


class Stopwatch:
    """Splits the time of a step into named parts.

        with stopwatch.part("forward"):
            ...
        record |= stopwatch.read()

    On a GPU it measures what the device does, by events in its queue: nothing waits
    for them before `read`. Parts must not overlap.
    """

    def __init__(self) -> None:
        """Begin with no parts."""
        self._spans: list[tuple[str, Any, Any]] = []

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Measure a block as a part of the step; blocks of one name add up."""
        start = mark()
        yield
        self._spans.append((name, start, mark()))

    def read(self) -> dict[str, float]:
        """Return <part>_seconds of each part since the last call.

        Call it where the loop has waited for the device anyway: it waits, too.
        """
        seconds: dict[str, float] = defaultdict(float)
        for name, start, end in self._spans:
            seconds[f"{name}_seconds"] += seconds_between(start, end)
        self._spans.clear()
        return dict(seconds)


def mark() -> Any:
    """Return this moment: seconds, or on a GPU an event in the current stream."""
    cuda = cuda_in_use()
    if cuda is None:
        return time.perf_counter()
    event = cuda.Event(enable_timing=True)
    event.record()
    return event


def seconds_between(start: Any, end: Any) -> float:
    """Return the seconds from one mark to another."""
    if isinstance(start, float):
        return end - start
    end.synchronize()
    return start.elapsed_time(end) / 1000


def cuda_in_use() -> Any:
    """Return torch.cuda if this process computes on a GPU, else None."""
    # A process that has not even imported torch has no GPU.
    torch = sys.modules.get("torch")
    return torch.cuda if torch and torch.cuda.is_initialized() else None


def peak_memory_gb() -> float:
    """Return the most memory that this process has held, GB (10^9 bytes).

    On a GPU: what torch had allocated on it. Without: the resident set.
    """
    if cuda := cuda_in_use():
        return cuda.max_memory_allocated() / GB
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024 / GB


def summarize_speed(
    records: list[dict[str, Any]],
    world_size: int,
    flops_per_token: float | None = None,
    device_flops: float | None = None,
) -> dict[str, float | None]:
    """Return what the history of a run says of its speed.

    The first step is left out, if there are others: it allocates and compiles.

    Args:
        records: Of `history.jsonl`. Those of a step have `seconds` (without validation
            and saving), `num_tokens` and `num_labels` of the global batch, and may have
            <part>_seconds for PARTS.
        world_size: Number of ranks.
        flops_per_token: Of the model (see `model_flops_per_token`).
        device_flops: FLOP/s of one rank's device (see `peak_flops`).

    Returns:
        step_seconds: Median.
        tokens_per_second: Predicted tokens, which the loss counts, of all ranks.
        computed_tokens_per_second: All tokens that the model sees.
        unpredicted_share: Share of those that the loss does not count.
        <part>_share: Share of the time, saving included, that the part took.
        mfu: Model FLOPs utilisation, the share of the devices' FLOP/s (PaLM, appendix
            B), or None where a FLOP count is not known.

        Empty without a step.
    """
    steps = [record for record in records if "seconds" in record]
    steps = steps[1:] or steps
    if not steps:
        return {}

    def total(key: str) -> float:
        return sum(step.get(key, 0) for step in steps)

    seconds, tokens, labels = map(total, ("seconds", "num_tokens", "num_labels"))
    mfu = None
    if flops_per_token and device_flops:
        mfu = flops_per_token * tokens / seconds / (device_flops * world_size)
    with_saving = seconds + total("save_seconds")
    return {
        "step_seconds": median(step["seconds"] for step in steps),
        "tokens_per_second": labels / seconds,
        "computed_tokens_per_second": tokens / seconds,
        "unpredicted_share": 1 - labels / tokens,
        **{f"{part}_share": total(f"{part}_seconds") / with_saving for part in PARTS},
        "mfu": mfu,
    }

"""What tests/gpu trains: each strategy, kernel and precision, by name."""

from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import ValidationError

from device_run import DeviceJob
from retune.settings import ConfigureSettings

STEPS = {
    **{"epochs": 9, "max_steps": 5, "learning_rate": 3e-3},
    **{"eval_steps": 5, "save_steps": 5},
}
LORA = {"r": 4, "lora_alpha": 8}
# What is trained -> of `finetune`.
FINETUNE: dict[str, dict[str, Any]] = {
    "whole": STEPS,
    "LoRA": STEPS | {"learning_rate": 1e-2, "lora": LORA},
    "QLoRA": STEPS | {"learning_rate": 1e-2, "lora": LORA | {"load_in_4bit": True}},
}
# Largest difference of a loss from that of fp32 on the CPU, nats; the losses begin at
# 5.8. In fp16 steps may be skipped, so only the first loss is held to it.
TOLERANCE = {"fp32": 1e-4, "bf16": 6e-3, "fp16": 5e-3}
TOLERANCE_IN_8_BITS = 0.05


@dataclass(frozen=True)
class Cell:
    """One training.

    Attributes:
        configure: Settings of `configure`.
        trained: Key of FINETUNE.
        only_on: The one device that can do it; None: any.
        needs_compiler: Whether something is compiled for it, for a minute.
        tolerance: Largest difference of a loss from that on the CPU, nats; None: that
            of the precision.
    """

    configure: dict[str, Any]
    trained: str = "whole"
    only_on: str | None = None
    needs_compiler: bool = False
    tolerance: float | None = None

    @property
    def precision(self) -> str:
        """Precision of the training."""
        return self.configure["precision"]

    def is_possible(self, device: str) -> bool:
        """Return whether the device can do it, and this version has the settings."""
        try:
            ConfigureSettings(**self.configure)
        except ValidationError:
            return False
        return self.only_on in (None, device)


FP32, BF16, FP16 = ({"precision": name} for name in ("fp32", "bf16", "fp16"))
ZERO = {stage: {"zero_stage": stage} for stage in range(4)}
SMALL = {"micro_batch_size": 4}
SDPA, VARLEN = ({"attn_implementation": name} for name in ("sdpa", "varlen"))
CELLS = {
    "ZeRO-0": Cell(FP32 | ZERO[0]),
    "ZeRO-1": Cell(FP32 | ZERO[1]),
    "ZeRO-2": Cell(FP32 | ZERO[2]),
    "ZeRO-3": Cell(FP32 | ZERO[3]),
    "accumulation": Cell(FP32 | ZERO[2] | SMALL),
    "LoRA": Cell(FP32 | ZERO[2], "LoRA"),
    "LoRA ZeRO-3": Cell(FP32 | ZERO[3], "LoRA"),
    "QLoRA": Cell(FP32 | ZERO[2], "QLoRA"),
    # On the CPU the moments have 32 bits.
    "AdamW in 8 bits": Cell(
        FP32 | ZERO[1] | {"optim": "adamw_8bit"}, tolerance=TOLERANCE_IN_8_BITS
    ),
    "eager": Cell(FP32 | ZERO[1] | {"attn_implementation": "eager"}),
    "checkpointing": Cell(FP32 | ZERO[1] | {"activation_checkpointing": True}),
    "selective": Cell(FP32 | ZERO[1] | {"activation_checkpointing": "selective"}),
    "chunked loss": Cell(FP32 | ZERO[1] | {"chunked_cross_entropy": True}),
    "whole logits": Cell(FP32 | ZERO[1] | {"chunked_cross_entropy": False}),
    "chunked loss ZeRO-3": Cell(FP32 | ZERO[3] | {"chunked_cross_entropy": True}),
    "bf16": Cell(BF16 | ZERO[1]),
    "bf16 ZeRO-3": Cell(BF16 | ZERO[3]),
    "bf16 LoRA": Cell(BF16 | ZERO[2], "LoRA"),
    "bf16 QLoRA": Cell(BF16 | ZERO[2], "QLoRA"),
    "bf16 accumulation": Cell(BF16 | ZERO[2] | SMALL),
    "bf16 sdpa": Cell(BF16 | ZERO[1] | SDPA),
    "bf16 sdpa accumulation": Cell(BF16 | ZERO[1] | SDPA | SMALL),
    "varlen": Cell(FP32 | ZERO[1] | VARLEN),
    "bf16 varlen": Cell(BF16 | ZERO[1] | VARLEN),
    "bf16 varlen accumulation": Cell(BF16 | ZERO[1] | VARLEN | SMALL),
    # Its rotary embedding is that of every later Llama of the process.
    "bf16 Liger": Cell(
        BF16 | ZERO[1] | {"use_liger_kernel": True}, only_on="cuda", needs_compiler=True
    ),
    "bf16 compiled": Cell(
        BF16 | ZERO[1] | {"torch_compile": True}, only_on="cuda", needs_compiler=True
    ),
    "fp16": Cell(FP16 | ZERO[2], only_on="cuda"),
    "fp16 ZeRO-3": Cell(FP16 | ZERO[3], only_on="cuda"),
    "offload": Cell(FP32 | ZERO[2] | {"offload_optimizer": "cpu"}, needs_compiler=True),
    "offload of all": Cell(
        FP32 | ZERO[3] | {"offload_optimizer": "cpu", "offload_param": "cpu"},
        needs_compiler=True,
    ),
    "bf16 offload": Cell(
        BF16 | ZERO[2] | {"offload_optimizer": "cpu"}, needs_compiler=True
    ),
}
# A training that is killed and resumed: each sum in the same order whenever it runs.
DETERMINISTIC = BF16 | ZERO[2] | {"attn_implementation": "eager"} | SMALL
RESUMED = STEPS | {"max_steps": 6, "save_steps": 2}


def check_losses(job: DeviceJob, on_cpu: dict[str, DeviceJob], cell: Cell) -> None:
    """Check that a cell's losses are those of fp32 on the CPU, and that it learns."""
    expected = on_cpu[cell.trained].losses
    tolerance = cell.tolerance or TOLERANCE[cell.precision]
    if cell.precision == "fp16":
        assert job.losses[0] == pytest.approx(expected[0], abs=tolerance)
        # The loss scale begins too high and is halved, without a step.
        assert sum(job.skipped) < 3
    else:
        assert job.losses == pytest.approx(expected, abs=tolerance)
    assert job.losses[-1] < job.losses[0] - (0.2 if cell.trained == "whole" else 0.02)

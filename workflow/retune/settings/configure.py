"""The section `configure`: the training strategy."""

from typing import Literal

from pydantic import Field, model_validator

from retune.settings.section import Auto, Count, Settings

Offload = Literal["none", "cpu", "nvme"]


class ConfigureSettings(Settings):
    """What `configure` writes into the DeepSpeed config; `auto` lets it decide."""

    global_batch_size: int = Field(
        16, ge=1, description="Sequences per optimizer step, over all ranks."
    )
    micro_batch_size: Count | Auto = Field(
        "auto", description="Sequences per rank and forward pass."
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto",
        description="`auto`: bf16 where the hardware computes it fast, else fp32.",
    )
    zero_stage: Literal["auto", 0, 1, 2, 3] = Field(
        "auto", description="DeepSpeed ZeRO stage."
    )
    offload_optimizer: Offload = Field(
        "none",
        description="Keep optimizer states in CPU memory, or under"
        " `hardware.nvme_path` (`nvme`: ZeRO-3 only).",
    )
    offload_param: Offload = Field(
        "none",
        description="Keep parameters in CPU memory, or under `hardware.nvme_path`"
        " (ZeRO-3 only).",
    )
    pipeline_stages: int = Field(
        1,
        ge=1,
        description="Cut the model into this many stages, a rank each, with ZeRO-1;"
        " 1: no pipeline. GPT-2, Llama, Mistral and Qwen models.",
    )
    activation_checkpointing: bool = Field(
        False, description="Recompute activations: less memory, slower."
    )
    attn_implementation: Literal["auto", "sdpa", "flash_attention_2", "eager"] = Field(
        "auto",
        description="Attention kernels, as transformers names them; `auto`:"
        " flash_attention_2 on GPUs where it is installed, else sdpa.",
    )
    gradient_clipping: float = Field(
        1.0, ge=0, description="Largest norm of the gradient; 0 does not clip."
    )

    @model_validator(mode="after")
    def _check_strategy(self) -> "ConfigureSettings":
        problems = []
        if self.zero_stage == 0 and self.precision in ("bf16", "fp16"):
            problems.append(
                f"zero_stage: 0 with precision: {self.precision} takes one Adam step"
                " too many in DeepSpeed 0.19: use zero_stage: 1, or precision: fp32"
            )
        if self.offload_param != "none" and self.zero_stage not in ("auto", 3):
            problems.append(
                f"offload_param: {self.offload_param} needs zero_stage: 3, not"
                f" {self.zero_stage}"
            )
        if self.offload_optimizer != "none" and self.zero_stage == 0:
            problems.append(
                f"offload_optimizer: {self.offload_optimizer} needs zero_stage: 1, 2"
                " or 3, not 0"
            )
        if self.offload_optimizer == "nvme" and self.zero_stage not in ("auto", 3):
            problems.append(
                f"offload_optimizer: nvme needs zero_stage: 3, not {self.zero_stage}"
            )
        if self.pipeline_stages > 1:
            problems += self._pipeline_problems()
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _pipeline_problems(self) -> list[str]:
        stages = f"pipeline_stages: {self.pipeline_stages}"
        problems = []
        if self.zero_stage not in ("auto", 1):
            problems.append(f"{stages} needs zero_stage: 1, not {self.zero_stage}")
        problems += [
            f"{stages} goes with {key}: none, not {getattr(self, key)}"
            for key in ("offload_optimizer", "offload_param")
            if getattr(self, key) != "none"
        ]
        return problems

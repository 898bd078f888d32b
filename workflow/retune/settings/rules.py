"""Every rule between settings, once: which of them are impossible together.

The check of params.yaml asks the rules of what is written there. `configure` asks those
of the training strategy again, of the plan in which no setting is `auto` any more.
"""

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from retune.settings.configure import ActivationCheckpointing, ConfigureSettings
from retune.settings.dataset import DatasetSettings
from retune.settings.finetune import FinetuneSettings, TrainedWeightsSettings
from retune.settings.hardware import HardwareSettings
from retune.settings.section import Settings

# Attention kernels that no CPU computes, or not their gradients.
ON_GPUS_ALONE = ("flash_attention_2", "flex_attention")
# Values with which nothing has to be offloaded.
NOT_OFFLOADED = ("auto", "none")


class Strategy(Protocol):
    """A training strategy: the section `configure`, or a plan, which has no `auto`."""

    @property
    def precision(self) -> str:
        """Precision of the forward and backward pass."""

    @property
    def zero_stage(self) -> int | Literal["auto"]:
        """DeepSpeed's ZeRO stage."""

    @property
    def optim(self) -> str:
        """The optimizer."""

    @property
    def bf16_optimizer_states(self) -> bool:
        """Whether master weights and Adam's moments are bf16, too."""

    @property
    def offload_optimizer(self) -> str:
        """Device that the optimizer states are offloaded to."""

    @property
    def offload_param(self) -> str:
        """Device that the parameters are offloaded to."""

    @property
    def pipeline_stages(self) -> int:
        """Number of stages that the model is cut into."""

    @property
    def activation_checkpointing(self) -> ActivationCheckpointing | Literal["auto"]:
        """Whether activations are computed again, or all but what is expensive."""

    @property
    def activation_checkpointing_interval(self) -> int:
        """In one decoder layer of how many they are."""

    @property
    def torch_compile(self) -> bool | Literal["auto"]:
        """Whether each decoder layer is compiled."""

    @property
    def attn_implementation(self) -> str:
        """Name of the attention kernels."""

    @property
    def use_liger_kernel(self) -> bool | Literal["auto"]:
        """Whether the layers compute with Liger's kernels."""

    @property
    def global_batch_size(self) -> int:
        """Sequences per optimizer step, over all ranks."""

    @property
    def micro_batch_size(self) -> int | Literal["auto"]:
        """Sequences per rank and forward pass."""


@dataclass(frozen=True)
class Rule:
    """A rule for sections of params.yaml.

    Attributes:
        sections: Names of the sections, in the order of the arguments of `problems`.
        problems: Function that returns what is wrong, a line each.
    """

    sections: tuple[str, ...]
    problems: Callable[..., list[str]]


class WrongKeyError(Exception):
    """A rule asked for a key whose value is wrong."""


class PartOfSection:
    """What is right of a section in which some keys are wrong."""

    def __init__(self, settings: Settings, wrong: Collection[str]) -> None:
        """Take a section in which the wrong keys have their defaults."""
        self._settings = settings
        self._wrong = wrong

    def __getattr__(self, key: str) -> Any:
        """Return the value of a key that is right."""
        if key in self._wrong:
            raise WrongKeyError(key)
        return getattr(self._settings, key)


def problems_across(sections: Mapping[str, Settings | PartOfSection]) -> list[str]:
    """Return what makes these sections impossible, a line each.

    Args:
        sections: Sections by name. A rule that reads another section, or a wrong key,
            is passed over.
    """
    problems = []
    for rule in RULES:
        if sections.keys() >= set(rule.sections):
            with suppress(WrongKeyError):
                problems += rule.problems(*(sections[name] for name in rule.sections))
    return problems


def strategy_problems(strategy: Strategy) -> list[str]:
    """Return why DeepSpeed cannot train by a strategy, on whatever machines."""
    return [line for problems in STRATEGY_RULES for line in problems(strategy)]


def stage_0_problems(strategy: Strategy) -> list[str]:
    """Return why ZeRO stage 0 does not go with the precision."""
    if strategy.zero_stage != 0 or strategy.precision not in ("bf16", "fp16"):
        return []
    return [
        f"configure.zero_stage: 0 with precision: {strategy.precision} takes one Adam"
        " step too many in DeepSpeed 0.19: use zero_stage: 1, or precision: fp32"
    ]


def bf16_states_problems(strategy: Strategy) -> list[str]:
    """Return why the optimizer cannot keep its states in bf16."""
    if not strategy.bf16_optimizer_states:
        return []
    setting = "configure.bf16_optimizer_states: true"
    problems = []
    if strategy.precision not in ("auto", "bf16"):
        problems.append(f"{setting} needs precision: bf16, not {strategy.precision}")
    if strategy.offload_optimizer not in NOT_OFFLOADED:
        device = strategy.offload_optimizer
        problems.append(f"{setting} goes with offload_optimizer: none, not {device}")
    return problems


def optim_problems(strategy: Strategy) -> list[str]:
    """Return why Adam's moments cannot have 8 bits."""
    if strategy.optim != "adamw_8bit":
        return []
    setting = f"configure.optim: {strategy.optim}"
    problems = []
    if strategy.bf16_optimizer_states:
        problems.append(f"{setting} goes with bf16_optimizer_states: false, not true")
    if strategy.offload_optimizer not in NOT_OFFLOADED:
        device = strategy.offload_optimizer
        problems.append(f"{setting} goes with offload_optimizer: none, not {device}")
    return problems


def param_offload_problems(strategy: Strategy) -> list[str]:
    """Return why the parameters cannot be offloaded at a ZeRO stage."""
    device, stage = strategy.offload_param, strategy.zero_stage
    if device in NOT_OFFLOADED or stage in ("auto", 3):
        return []
    return [f"configure.offload_param: {device} needs zero_stage: 3, not {stage}"]


def optimizer_offload_problems(strategy: Strategy) -> list[str]:
    """Return why the optimizer states cannot be offloaded at a ZeRO stage."""
    device, stage = strategy.offload_optimizer, strategy.zero_stage
    setting = f"configure.offload_optimizer: {device}"
    problems = []
    if device not in NOT_OFFLOADED and stage == 0:
        problems.append(f"{setting} needs zero_stage: 1, 2 or 3, not 0")
    if device == "nvme" and stage not in ("auto", 3):
        problems.append(f"{setting} needs zero_stage: 3, not {stage}")
    return problems


def pipeline_problems(strategy: Strategy) -> list[str]:
    """Return why a pipeline does not go with a ZeRO stage, or with offloading."""
    if strategy.pipeline_stages == 1:
        return []
    setting = f"configure.pipeline_stages: {strategy.pipeline_stages}"
    problems = []
    if strategy.zero_stage not in ("auto", 1):
        problems.append(f"{setting} needs zero_stage: 1, not {strategy.zero_stage}")
    offloaded = {
        "offload_optimizer": strategy.offload_optimizer,
        "offload_param": strategy.offload_param,
    }
    return problems + [
        f"{setting} goes with {key}: none, not {device}"
        for key, device in offloaded.items()
        if device not in NOT_OFFLOADED
    ]


def checkpointing_problems(strategy: Strategy) -> list[str]:
    """Return that no layer computes activations again, if some are to."""
    interval = strategy.activation_checkpointing_interval
    if interval == 1 or strategy.activation_checkpointing:
        return []
    return [
        f"configure.activation_checkpointing_interval: {interval} needs"
        " activation_checkpointing: true or selective, not false"
    ]


def compile_problems(strategy: Strategy) -> list[str]:
    """Return what of the layers, if they are compiled, would not be."""
    if strategy.torch_compile is not True:
        return []
    problems = []
    if strategy.activation_checkpointing == "selective":
        problems.append(
            "configure.torch_compile: true does not go with activation_checkpointing:"
            " selective, because compiled layers have no operations to select; write"
            " activation_checkpointing: true or false"
        )
    if strategy.use_liger_kernel is True:
        problems.append(
            "configure.torch_compile: true does not go with use_liger_kernel: true,"
            " because Liger keeps PyTorch from compiling its rotary embedding, which"
            " would cut each layer in two; write torch_compile: auto"
        )
    return problems


def liger_problems(strategy: Strategy) -> list[str]:
    """Return that Liger's kernels overwrite activations that are kept, if some are."""
    is_selective = strategy.activation_checkpointing == "selective"
    if strategy.use_liger_kernel is not True or not is_selective:
        return []
    return [
        "configure.use_liger_kernel: true does not go with activation_checkpointing:"
        " selective, because Liger's rotary embedding overwrites what is kept, and"
        " gradients would be wrong; write activation_checkpointing: true or false, or"
        " use_liger_kernel: auto"
    ]


def batch_problems(hardware: HardwareSettings, strategy: Strategy) -> list[str]:
    """Return why the ranks, if their number is given, cannot divide the batch."""
    if hardware.ranks_per_node == "auto":
        return []
    return split_problems(strategy, hardware.nodes * hardware.ranks_per_node)


def split_problems(strategy: Strategy, ranks: int) -> list[str]:
    """Return why ranks cannot divide the pipeline stages and the batch among them.

    Args:
        strategy: The strategy; a `micro_batch_size` of `auto` may become 1.
        ranks: Number of ranks.
    """
    stages, batch = strategy.pipeline_stages, strategy.global_batch_size
    if ranks % stages:
        return [
            f"configure.pipeline_stages: {stages}, but {ranks} ranks are not a"
            " multiple of it"
        ]
    data_parallel_size, micro = ranks // stages, strategy.micro_batch_size
    per_pass = data_parallel_size * (1 if micro == "auto" else micro)
    if batch % per_pass == 0:
        return []
    nearest = max(1, round(batch / per_pass)) * per_pass
    counted = "ranks" if stages == 1 else "ranks / pipeline_stages"
    return [
        f"configure.global_batch_size: {batch} is not a multiple of {counted} x"
        f" micro_batch_size ({data_parallel_size} x {micro}); {nearest} would be"
    ]


def nvme_problems(hardware: HardwareSettings, strategy: Strategy) -> list[str]:
    """Return what is offloaded to NVMe without a folder on such a disk."""
    return swap_problems(hardware.nvme_path, strategy)


def swap_problems(nvme_path: str | None, strategy: Strategy) -> list[str]:
    """Return what is offloaded to NVMe if that folder is not given."""
    offloaded = {
        "offload_optimizer": strategy.offload_optimizer,
        "offload_param": strategy.offload_param,
    }
    return [
        f"configure.{key}: nvme needs hardware.nvme_path, a folder on a fast local disk"
        for key, device in offloaded.items()
        if device == "nvme" and not nvme_path
    ]


def precision_problems(hardware: HardwareSettings, strategy: Strategy) -> list[str]:
    """Return why the ranks cannot train in the precision."""
    return fp16_problems(hardware.accelerator, strategy.precision)


def fp16_problems(accelerator: str, precision: str) -> list[str]:
    """Return why an accelerator cannot train in a precision, if that is fp16."""
    if accelerator != "cpu" or precision != "fp16":
        return []
    return [
        "configure.precision: fp16, but the ranks are CPUs (hardware.accelerator):"
        " DeepSpeed has no fp16 there; write fp32 or bf16"
    ]


def kernel_problems(hardware: HardwareSettings, strategy: Strategy) -> list[str]:
    """Return which kernels the ranks cannot compute with."""
    return cpu_kernel_problems(hardware.accelerator, strategy)


def cpu_kernel_problems(accelerator: str, strategy: Strategy) -> list[str]:
    """Return which kernels an accelerator does not have, if it is CPUs."""
    if accelerator != "cpu":
        return []
    problems = []
    if strategy.use_liger_kernel is True:
        problems.append(
            "configure.use_liger_kernel: true, but the ranks are CPUs"
            " (hardware.accelerator) and the kernels are Triton's, for GPUs; write"
            " auto"
        )
    if strategy.attn_implementation in ON_GPUS_ALONE:
        problems.append(
            f"configure.attn_implementation: {strategy.attn_implementation}, but the"
            " ranks are CPUs (hardware.accelerator), for which it has no kernels;"
            " write auto"
        )
    return problems


def lora_problems(
    configure: ConfigureSettings, trained: TrainedWeightsSettings
) -> list[str]:
    """Return why adapters cannot be trained in a pipeline."""
    stages = configure.pipeline_stages
    if not trained.lora or stages == 1:
        return []
    return [f"finetune.lora goes with configure.pipeline_stages: 1, not {stages}"]


def four_bit_problems(strategy: Strategy, trained: TrainedWeightsSettings) -> list[str]:
    """Return why weights cannot be held in 4 bits: ZeRO-3 shards no packed bytes."""
    if not trained.lora or not trained.lora.load_in_4bit:
        return []
    setting = "finetune.lora.load_in_4bit: true goes with configure"
    problems = []
    if strategy.zero_stage == 3:
        problems.append(f"{setting}.zero_stage: 0, 1, 2 or auto, not 3")
    if strategy.offload_param not in NOT_OFFLOADED:
        device = strategy.offload_param
        problems.append(
            f"{setting}.offload_param: none, not {device}, which needs zero_stage: 3"
        )
    if strategy.offload_optimizer == "nvme":
        problems.append(
            f"{setting}.offload_optimizer: none or cpu, not nvme, which needs"
            " zero_stage: 3"
        )
    return problems


def mix_problems(dataset: DatasetSettings, finetune: FinetuneSettings) -> list[str]:
    """Return which weights are of no source, or that nothing would be trained."""
    names = list(dataset.sources)
    unknown = [name for name in finetune.mix if name not in names]
    if unknown and not names:
        return [
            f"finetune.mix.{name}: dataset has no sources; name each dataset in"
            " dataset.sources"
            for name in unknown
        ]
    if unknown:
        return [
            f"finetune.mix.{name}: there is no dataset.sources.{name}; there are:"
            f" {', '.join(names)}"
            for name in unknown
        ]
    if names and all(finetune.mix.get(name, 1) == 0 for name in names):
        return [
            f"finetune.mix.{names[0]}: all sources have weight 0, so nothing would be"
            " trained: raise one"
        ]
    return []


def schedule_problems(kind: str, finetune: FinetuneSettings, name: str) -> list[str]:
    """Return that a DeepSpeed config has another schedule than `finetune`, if so.

    Args:
        kind: Type of the config's schedule; empty if it has none.
        finetune: The `finetune` section.
        name: What to call the key that says it.
    """
    mine = finetune.lr_scheduler_type
    if not kind or kind == mine:
        return []
    return [
        f"{name}: {kind}, but finetune.lr_scheduler_type is {mine}; write {kind} there,"
        " or delete scheduler"
    ]


STRATEGY_RULES = (
    stage_0_problems,
    bf16_states_problems,
    optim_problems,
    param_offload_problems,
    optimizer_offload_problems,
    pipeline_problems,
    checkpointing_problems,
    compile_problems,
    liger_problems,
)
RULES = (
    *(Rule(("configure",), problems) for problems in STRATEGY_RULES),
    Rule(("hardware", "configure"), batch_problems),
    Rule(("hardware", "configure"), nvme_problems),
    Rule(("hardware", "configure"), precision_problems),
    Rule(("hardware", "configure"), kernel_problems),
    Rule(("configure", "finetune"), lora_problems),
    Rule(("configure", "finetune"), four_bit_problems),
    Rule(("dataset", "finetune"), mix_problems),
)

"""The plan of a training: what `configure` decided, and why."""

from dataclasses import dataclass
from typing import ClassVar, Generic, Literal, TypeVar

from retune.artifacts.artifact import SealedArtifact
from retune.artifacts.memory_prediction import MemoryPrediction
from retune.settings import (
    Accelerator,
    ActivationCheckpointing,
    Offload,
    Optim,
    Precision,
)

PLAN = "plan.json"
REASONS = "reasons.json"
DEEPSPEED = "deepspeed.json"

PlanValue = str | bool | int | float
Value = TypeVar("Value", bound=PlanValue, covariant=True)


class Plan(SealedArtifact):
    """What the ranks go by beside the DeepSpeed config; no value is `auto`.

    Attributes:
        format: Format of the file.
        precision: Precision of the forward and backward pass.
        zero_stage: DeepSpeed's ZeRO stage, 0 to 3.
        optim: The optimizer: AdamW, or AdamW with moments in 8 bits.
        bf16_optimizer_states: Whether master weights and Adam's moments are bf16, too.
        offload_optimizer: Device that the optimizer states are offloaded to.
        offload_param: Device that the parameters are offloaded to.
        global_batch_size: Sequences per optimizer step, over all ranks.
        micro_batch_size: Sequences per rank and forward pass.
        gradient_accumulation_steps: Forward passes per optimizer step.
        pipeline_stages: Number of stages that the model is cut into; 1: no pipeline.
        activation_checkpointing: Whether activations are computed twice to save memory;
            `selective`: all but products with weights and attention.
        activation_checkpointing_interval: In one decoder layer of how many they are.
        torch_compile: Whether each decoder layer is compiled.
        use_liger_kernel: Whether the layers compute with Liger's kernels.
        attn_implementation: Name of the attention kernels in Transformers.
        chunked_cross_entropy: Whether logits and loss are computed some tokens at a
            time.
        gradient_clipping: Largest norm of the gradient; 0 does not clip.
        accelerator: Kind of device that the ranks compute on.
        nodes: Number of machines.
        ranks_per_node: Number of processes on each machine.
        sequence_length: Tokens per sequence.
        num_parameters: Number of parameters of the model, tied ones counted once.
        num_adapter_parameters: Number of parameters of the adapters that are trained
            instead of the model; 0: there are none.
        num_4bit_parameters: Number of parameters of the model that are held in 4 bits.
        num_8bit_moments: Number of trained parameters whose moments have 8 bits.
        grad_accum_dtype: Type that gradients are added up in, if the user's DeepSpeed
            config says it; None: see `accumulates_in_fp32`.
        round_robin_gradients: Whether DeepSpeed deals gradients out to the ranks in
            turn, as the user's DeepSpeed config may say.
        lr_scheduler_type: Schedule that the user's DeepSpeed config names, which
            `finetune` must have as well; empty if it names none.
    """

    STEP: ClassVar = "configure"

    format: Literal[1] = 1
    precision: Precision
    zero_stage: int
    optim: Optim
    bf16_optimizer_states: bool
    offload_optimizer: Offload
    offload_param: Offload
    global_batch_size: int
    micro_batch_size: int
    gradient_accumulation_steps: int
    pipeline_stages: int
    activation_checkpointing: ActivationCheckpointing
    activation_checkpointing_interval: int
    torch_compile: bool
    use_liger_kernel: bool
    attn_implementation: str
    chunked_cross_entropy: bool
    gradient_clipping: float
    accelerator: Accelerator
    nodes: int
    ranks_per_node: int
    sequence_length: int
    num_parameters: int
    num_adapter_parameters: int = 0
    num_4bit_parameters: int = 0
    num_8bit_moments: int = 0
    grad_accum_dtype: Precision | None = None
    round_robin_gradients: bool = False
    lr_scheduler_type: str = ""

    @property
    def world_size(self) -> int:
        """Number of ranks."""
        return self.nodes * self.ranks_per_node

    @property
    def data_parallel_size(self) -> int:
        """Number of ranks, or of pipelines, that divide a batch among them."""
        return self.world_size // self.pipeline_stages

    @property
    def num_trained(self) -> int:
        """Number of parameters that are trained."""
        return self.num_adapter_parameters or self.num_parameters

    @property
    def tokens_per_step(self) -> int:
        """Tokens per optimizer step, over all ranks."""
        return self.global_batch_size * self.sequence_length


@dataclass(frozen=True)
class Decision(Generic[Value]):
    """A value of the plan and the reason for it.

    Attributes:
        setting: Name of the value, which is that of the setting if there is one.
        value: The value.
        why: The reason, in words.
    """

    setting: str
    value: Value
    why: str


class Reasons(SealedArtifact):
    """Why the plan is what it is, for people: no training depends on it.

    Attributes:
        format: Format of the file.
        decisions: Values of the plan, each with the reason for it.
        warnings: What in the settings is probably a mistake, a line each.
        train_blocks: Number of training sequences.
        memory: How much memory the training will take, and when.
        step_seconds: Predicted time of an optimizer step; None on CPUs.
        gpu_name: Name of the GPUs; None where `configure` ran on another machine.
        gpu_memory_gb: Memory of one GPU, GB; None if it is not known, and on CPUs.
        left_open: Settings that were `auto`, with their sections; None: not known.
    """

    STEP: ClassVar = "configure"

    format: Literal[1] = 1
    decisions: tuple[Decision[PlanValue], ...]
    warnings: tuple[str, ...]
    train_blocks: int
    memory: MemoryPrediction
    step_seconds: float | None = None
    gpu_name: str | None
    gpu_memory_gb: float | None = None
    left_open: tuple[str, ...] | None = None

"""Whether compiling a model's layers pays, by a rule of thumb that says it is one."""

from retune.artifacts.plan import Decision, Plan
from retune.settings import ConfigureSettings

# FLOP/s that a GPU is taken to reach in training.
FLOPS = 3e14
# Share of a step's time that is taken to be saved: torchtitan publishes 5,762 and 6,667
# tokens/s for Llama 3.1 8B on H100s, without and with torch.compile.
SAVED_SHARE = 1 - 5762 / 6667
# Seconds that compiling is taken to need: layers that are alike are compiled once.
COMPILING_S = 120


def choose_torch_compile(
    settings: ConfigureSettings, draft: Plan, train_blocks: int
) -> Decision[bool]:
    """Return whether the layers are compiled: on GPUs, where a pass takes long enough.

    How many passes over the data are trained is not known here, lest a change of
    `finetune.epochs` make another plan.

    Args:
        settings: The `configure` section.
        draft: The plan, with whatever value of `torch_compile`.
        train_blocks: Number of training sequences.
    """
    key = "torch_compile"
    if settings.torch_compile != "auto":
        return Decision(key, settings.torch_compile, "set in params.yaml")
    if draft.accelerator == "cpu":
        return Decision(key, False, "on CPUs steps did not become faster by it")
    if draft.zero_stage == 3:
        why = "ZeRO-3 gathers weights between a layer's operations; not measured"
        return Decision(key, False, why)
    if draft.activation_checkpointing == "selective":
        why = "does not go with activation_checkpointing: selective"
        return Decision(key, False, why)
    if draft.num_4bit_parameters:
        return Decision(key, False, "not measured with weights in 4 bits")
    if settings.use_liger_kernel is True:
        why = "use_liger_kernel: true, and Liger's rotary embedding cannot be compiled"
        return Decision(key, False, why)
    tokens = train_blocks * draft.sequence_length
    seconds = 6 * draft.num_parameters * tokens / (FLOPS * draft.world_size)
    saved = SAVED_SHARE * seconds
    return Decision(
        key,
        saved > COMPILING_S,
        f"rule of thumb, not measured: it saves about {saved:,.0f} s of a pass over the"
        f" data and takes about {COMPILING_S} s",
    )

"""Whether a model's layers compute with Liger's kernels."""

from retune.artifacts.model_facts import ModelFacts
from retune.artifacts.plan import Decision, Plan
from retune.errors import RetuneError
from retune.planning.liger_version import (
    INSTALL,
    installed_liger_version,
    version_problem,
)
from retune.settings import ConfigureSettings

SILU = ("silu", "swish")
TANH_GELU = ("gelu_pytorch_tanh",)
# Families whose layers were seen to compute with these kernels as without, in Triton's
# interpreter (tests/library/test_interpreted_kernels.py), each with the activation
# functions that the kernels compute. They compute these whatever a config names.
MIXTURES = dict.fromkeys(("deepseek_v3", "mixtral", "qwen3_moe"), SILU)
DENSE = {
    **dict.fromkeys(("llama", "ministral", "mistral", "qwen2", "qwen3"), SILU),
    **dict.fromkeys(("exaone4", "glm4", "granite", "hunyuan_v1_dense"), SILU),
    **dict.fromkeys(("olmo2", "olmo3", "phi3", "smollm3"), SILU),
    **dict.fromkeys(("gemma", "gemma2", "gemma3_text"), TANH_GELU),
}
SEEN = {**DENSE, **MIXTURES}


def choose_liger_kernel(
    settings: ConfigureSettings, draft: Plan, facts: ModelFacts
) -> Decision[bool]:
    """Return whether the layers compute with Liger's kernels.

    Args:
        settings: The `configure` section.
        draft: The plan, with whatever value of `use_liger_kernel`.
        facts: Facts of the model.

    Raises:
        RetuneError: If they are asked for and would compute something else, or are
            installed in another version.
    """
    key = "use_liger_kernel"
    problem = family_problem(facts)
    if settings.use_liger_kernel is True and problem:
        raise RetuneError(f"configure.{key}: true, but {problem}; write auto")
    installed, other = installed_liger_version(), version_problem()
    # It may be missing here, and installed where the plan is trained.
    if settings.use_liger_kernel is True and installed and other:
        raise RetuneError(
            f"configure.{key}: true, but {other}: {INSTALL}, or write auto"
        )
    if settings.use_liger_kernel != "auto":
        return Decision(key, settings.use_liger_kernel, "set in params.yaml")
    if draft.accelerator == "cpu":
        return Decision(key, False, "the kernels are Triton's, for GPUs")
    if problem:
        return Decision(key, False, problem)
    if draft.activation_checkpointing == "selective":
        why = "does not go with activation_checkpointing: selective"
        return Decision(key, False, why)
    if draft.torch_compile:
        why = (
            "torch_compile makes kernels of these operations itself, and cannot compile"
            " Liger's rotary embedding"
        )
        return Decision(key, False, why)
    if facts.model_type in MIXTURES:
        why = (
            "Liger's kernels would replace the grouped matrix products by which"
            " transformers computes experts, and which are faster was not measured"
        )
        return Decision(key, False, why)
    if installed is None:
        why = f"liger-kernel is not installed where configure ran: {INSTALL}"
        return Decision(key, False, why)
    if other:
        return Decision(key, False, f"{other}: {INSTALL}")
    why = (
        f"liger-kernel {installed} is installed, and has kernels for {facts.model_type}"
        " models"
    )
    return Decision(key, True, why)


def family_problem(facts: ModelFacts) -> str:
    """Return why a model cannot compute with the kernels; empty: it can."""
    activations = SEEN.get(facts.model_type)
    if activations is None:
        return (
            f"Liger's kernels were not seen to compute {facts.model_type} models as"
            " transformers does"
        )
    if facts.activation not in activations:
        found = (
            "config.json names none, or more than one"
            if facts.activation is None
            else f"this one has {facts.activation}"
        )
        return (
            f"Liger's kernels compute {activations[0]} in {facts.model_type} models,"
            f" and {found}"
        )
    return ""

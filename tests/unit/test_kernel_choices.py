"""Which kernels a plan computes with: compiled layers, attention, Liger, the loss."""

import pytest

from chosen_plans import CPU, GPUS, plan_of
from retune.errors import RetuneError
from retune.planning.strategy import make_plan
from retune.settings import ConfigureSettings
from tiny_facts import tiny_facts


@pytest.mark.parametrize(
    ("settings", "hardware", "blocks", "compiled"),
    [
        # 8 B parameters on 8 GPUs: 1,000 sequences take 20 s, 100,000 half an hour.
        ({}, GPUS, 1000, False),
        ({}, GPUS, 100_000, True),
        ({}, CPU, 100_000, False),
        ({"zero_stage": 3}, GPUS, 100_000, False),
        ({"activation_checkpointing": "selective"}, GPUS, 100_000, False),
        ({"zero_stage": 3, "torch_compile": True}, GPUS, 1000, True),
        ({"torch_compile": True}, CPU, 1000, True),
        ({"torch_compile": False}, GPUS, 100_000, False),
    ],
)
def test_layers_are_compiled_where_a_pass_takes_long(
    settings, hardware, blocks, compiled
):
    settings = ConfigureSettings(**settings)
    plan = plan_of(settings, hardware, 8 * 10**9, 1024, blocks)
    assert plan.torch_compile == compiled


@pytest.mark.parametrize(
    ("hardware", "precision", "why"),
    [
        (CPU, "fp32", "each packed document by itself, by PyTorch's kernels"),
        (GPUS, "bf16", "each packed document by itself, by PyTorch's kernels"),
    ],
)
def test_documents_are_computed_by_themselves_where_that_is_exact(
    hardware, precision, why
):
    settings = ConfigureSettings(precision=precision)
    facts = tiny_facts()
    plan, decisions = make_plan(settings, hardware, facts, 256, 100)
    assert plan.attn_implementation == "varlen"
    assert why in {decision.why for decision in decisions}
    other = tiny_facts(has_varlen=False)
    plan, decisions = make_plan(settings, hardware, other, 256, 100)
    assert plan.attn_implementation == "sdpa"
    whys = " ".join(decision.why for decision in decisions)
    assert "varlen was not seen to compute gpt2 models" in whys
    capped = tiny_facts(caps_attention=True)
    plan, decisions = make_plan(settings, hardware, capped, 256, 100)
    assert plan.attn_implementation == "varlen"
    assert "by itself, in plain operations" in " ".join(d.why for d in decisions)


def test_kernels_that_do_not_compute_the_family_are_refused():
    settings = ConfigureSettings(attn_implementation="varlen")
    with pytest.raises(RetuneError, match="varlen was not seen to compute gpt2 models"):
        make_plan(settings, CPU, tiny_facts(has_varlen=False), 256, 100)
    settings = ConfigureSettings(attn_implementation="flash_attention_2")
    with pytest.raises(RetuneError, match="flash_attention_2, but the ranks are CPUs"):
        make_plan(settings, CPU, tiny_facts(), 256, 100)


LLAMA = {"model_type": "llama", "activation": "silu"}


# A version of liger-kernel that is.
WANTED = "0.8.5"


@pytest.mark.parametrize(
    ("settings", "hardware", "facts", "installed", "why"),
    [
        (
            *({}, GPUS, LLAMA, WANTED),
            f"liger-kernel {WANTED} is installed, and has kernels for llama",
        ),
        (
            *({}, GPUS, LLAMA, None),
            "not installed where configure ran: pip install 'retune[kernels]'",
        ),
        (
            *({}, GPUS, LLAMA, "0.6.2"),
            "liger-kernel 0.6.2 is installed, and >=0.8.5,<0.9 is wanted: pip install",
        ),
        ({}, CPU, LLAMA, WANTED, "the kernels are Triton's, for GPUs"),
        ({}, GPUS, {}, WANTED, "not seen to compute gpt2 models as transformers does"),
        ({}, GPUS, {**LLAMA, "activation": "gelu"}, WANTED, "and this one has gelu"),
        (
            *({}, GPUS, {**LLAMA, "activation": None}, WANTED),
            "in llama models, and config.json names none, or more than one",
        ),
        ({}, GPUS, {**LLAMA, "model_type": "mixtral"}, WANTED, "computes experts"),
        ({"torch_compile": True}, GPUS, LLAMA, WANTED, "torch_compile makes kernels"),
        (
            {"activation_checkpointing": "selective"},
            *(GPUS, LLAMA, WANTED, "activation_checkpointing: selective"),
        ),
        ({"use_liger_kernel": False}, GPUS, LLAMA, WANTED, "set in params.yaml"),
    ],
)
def test_liger_kernels_are_used_where_they_compute_the_same(
    settings, hardware, facts, installed, why, install_liger
):
    install_liger(installed)
    settings, facts = ConfigureSettings(**settings), tiny_facts(**facts)
    plan, decisions = make_plan(settings, hardware, facts, 256, 100)
    (decision,) = [d for d in decisions if d.setting == "use_liger_kernel"]
    assert plan.use_liger_kernel is decision.value is ("has kernels for" in why)
    assert why in decision.why


def test_liger_kernels_of_another_version_are_refused(install_liger):
    install_liger("0.9.0")
    settings = ConfigureSettings(use_liger_kernel=True)
    with pytest.raises(RetuneError, match=r"true, but liger-kernel 0.9.0 is installed"):
        make_plan(settings, GPUS, tiny_facts(**LLAMA), 256, 100)


def test_layers_with_liger_kernels_are_not_compiled_by_auto():
    long_pass = 2_000_000
    for liger, is_compiled in ((True, False), (False, True)):
        settings = ConfigureSettings(use_liger_kernel=liger, zero_stage=2)
        facts = tiny_facts(**LLAMA, num_parameters=10**9)
        plan, decisions = make_plan(settings, GPUS, facts, 1024, long_pass)
        assert plan.torch_compile is is_compiled
        (why,) = [d.why for d in decisions if d.setting == "torch_compile"]
        assert why.startswith("use_liger_kernel: true") is liger


def test_liger_kernels_may_be_asked_for_where_they_are_not_here():
    settings = ConfigureSettings(use_liger_kernel=True)
    for family in ("llama", "mixtral"):
        facts = tiny_facts(**{**LLAMA, "model_type": family})
        plan, _ = make_plan(settings, GPUS, facts, 256, 100)
        assert plan.use_liger_kernel
    for changed, told in (
        ({}, "not seen to compute gpt2 models"),
        ({**LLAMA, "activation": "gelu"}, "compute silu in llama models, and this one"),
    ):
        with pytest.raises(RetuneError, match=f"use_liger_kernel: true, but .*{told}"):
            make_plan(settings, GPUS, tiny_facts(**changed), 256, 100)
    settings = settings.model_copy(update={"activation_checkpointing": "selective"})
    with pytest.raises(RetuneError, match="selective, .* gradients would be wrong"):
        make_plan(settings, GPUS, tiny_facts(**LLAMA), 256, 100)


def test_the_loss_is_chunked_where_the_output_head_is_known():
    unknown = tiny_facts(output_head=None)
    for settings, facts, expected in (
        (ConfigureSettings(), tiny_facts(), True),
        (ConfigureSettings(), unknown, False),
        (ConfigureSettings(precision="fp16"), tiny_facts(), False),
        (ConfigureSettings(chunked_cross_entropy=False), tiny_facts(), False),
    ):
        plan, _ = make_plan(settings, GPUS, facts, 256, 100)
        assert plan.chunked_cross_entropy is expected
    settings = ConfigureSettings(chunked_cross_entropy=True)
    with pytest.raises(RetuneError, match="chunked_cross_entropy: true, but the model"):
        make_plan(settings, CPU, unknown, 256, 100)

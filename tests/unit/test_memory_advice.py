"""What to change after memory has run out: the least that fits by the prediction."""

import pytest

from plans import make_plan
from retune.artifacts.memory_shortage import MemoryShortage
from retune.planning.activations import NOTHING, Activations, Moment, PassMemory
from retune.planning.memory_advice import Beside, advise
from retune.planning.memory_prediction import predict_memory
from retune.planning.single_changes import setting_changes
from retune.units import GB

# Of a sequence of 1,024 tokens: GB that are kept, by what is computed again.
KEPT = {False: 2.0, "selective": 1.0, True: 0.2}
PLAN = {
    **{"micro_batch_size": 8, "global_batch_size": 32, "ranks_per_node": 2},
    **{"gradient_accumulation_steps": 2, "sequence_length": 1024},
    **{"accelerator": "cuda", "num_parameters": 300_000_000},
}
# Weights, gradients and states take 48 GB, sharded over two ranks 24.
LARGE = {"num_parameters": 3_000_000_000}
ONE = {"micro_batch_size": 1, "gradient_accumulation_steps": 16}
ALL_AGAIN = {"activation_checkpointing": True}
ONE_RANK = {"ranks_per_node": 1, "global_batch_size": 16}
ADAPTERS = {"num_adapter_parameters": 10**7}
IN_4BIT = {**LARGE, **ADAPTERS, "num_4bit_parameters": 2_900_000_000}


def peak_of(plan):
    """Return what is predicted of a model of known activations."""
    kept = KEPT[plan.activation_checkpointing] * GB * plan.sequence_length / 1024
    if plan.activation_checkpointing and plan.activation_checkpointing_interval == 2:
        kept = (kept + KEPT[False] * GB) / 2
    moment = Moment(kept, 0, 0, 0, 0)
    passes = PassMemory(1, (moment,), (moment,), (NOTHING,))
    return predict_memory(plan, Activations((passes,))).peak_tensor_bytes


def advice(changes, there, more=1.0, before=0.0):
    """Return the advice where a rank needed so many times what is predicted."""
    plan = make_plan(**PLAN | changes)
    needed = before + more * peak_of(plan) / GB
    return advise(plan, MemoryShortage(needed, there, before), peak_of)


@pytest.mark.parametrize(
    ("changes", "there", "told"),
    [
        ({}, 16, "write configure.micro_batch_size: 4 (about 12.3 GB)"),
        # 6 and 3 divide 12, the share of a rank; 5 and 4 do not.
        ({"micro_batch_size": 6, "global_batch_size": 24}, 12,
         "write configure.micro_batch_size: 3 (about 10.3 GB)"),
        # No micro-batch fits, or there is no smaller one.
        ({}, 6.5, "write configure.activation_checkpointing: true (about 5.9 GB)"),
        ({}, 5.4, "write configure.micro_batch_size: 1, configure.activation_checkpoi"),
        ({**ONE, "activation_checkpointing": "selective",
          "activation_checkpointing_interval": 2}, 5.4,
         "write configure.activation_checkpointing: true,"
         " activation_checkpointing_interval: 1"),
        # A smaller batch would not help.
        ({**LARGE, **ONE, **ALL_AGAIN}, 43, "write configure.zero_stage: 3"),
        ({**LARGE, **ONE, **ALL_AGAIN, "zero_stage": 3}, 20,
         "write configure.offload_optimizer: cpu (about"),
        ({**LARGE, **ONE, **ALL_AGAIN, "zero_stage": 3, "precision": "bf16",
          "optim": "adamw_8bit", "num_8bit_moments": 3_000_000_000}, 14,
         "write configure.offload_optimizer: cpu, optim: adamw (about"),
        # Nothing shards weights in 4 bits, and adapters have little to offload.
        ({**IN_4BIT, **ONE, **ALL_AGAIN, "sequence_length": 4096}, 2,
         "sequence_length below 4096, or give the"
         " run more GPUs"),
        ({**ONE, **ALL_AGAIN, "zero_stage": 3, "offload_optimizer": "cpu",
          "offload_param": "cpu", "sequence_length": 16384}, 4,
         "write tokenize.sequence_length: 8192 (about"),
        ({**LARGE, **ONE, **ALL_AGAIN, **ONE_RANK, "accelerator": "cpu",
          "zero_stage": 3}, 20,
         "no setting alone would do: give the run more memory"),
        # Neither ZeRO-3 nor offloading goes with a pipeline.
        ({**ONE, **ALL_AGAIN, "zero_stage": 1, "pipeline_stages": 2,
          "gradient_accumulation_steps": 32, "sequence_length": 32768}, 1,
         "write a tokenize.sequence_length below 32768"),
    ],
)  # fmt: skip
def test_the_least_change_that_fits_is_named(changes, there, told):
    assert told in advice(changes, there)


LORA = {**LARGE, **ADAPTERS, **ONE, **ALL_AGAIN, **ONE_RANK}


@pytest.mark.parametrize(
    ("there", "in_4bit", "told"),
    [
        (4.0, 2_900_000_000, "write finetune.lora.load_in_4bit: true (about 2.5 GB)"),
        # Too little is held in 4 bits, or it is not known how much.
        (4.0, 10**8, "give the run more GPUs"),
        (4.0, 0, "give the run more GPUs"),
    ],
)
def test_weights_in_4_bits_are_named_with_what_they_would_take(there, in_4bit, told):
    plan = make_plan(**PLAN | LORA)
    shortage = MemoryShortage(peak_of(plan) / GB, there, 0.0)
    found = advise(plan, shortage, peak_of, Beside(in_4bit=in_4bit))
    assert told in found
    assert ("load_in_4bit" in found) == (in_4bit > 10**9)


def test_large_buckets_are_named_first_as_a_run_resumes_by_others():
    plan = make_plan(**PLAN)
    less = peak_of(plan)

    def in_large_buckets(plan):
        return peak_of(plan) + 8 * GB

    shortage = MemoryShortage(in_large_buckets(plan) / GB, 22.5, 0.0)
    told = advise(plan, shortage, in_large_buckets, Beside(in_usual_buckets=less))
    assert told.startswith(
        "write configure.overrides.zero_optimization.reduce_bucket_size: 5e7 (about"
    )


def test_on_a_gpu_all_plans_need_as_many_times_more():
    told = advice({}, 16, more=1.5)
    assert told.startswith("write configure.micro_batch_size: 2 (about 12.4 GB)")
    # Else `configure` would choose it anew.
    assert told.endswith("activation_checkpointing: false")


def test_on_a_cpu_libraries_take_the_same_by_all_plans():
    usual = advice({"accelerator": "cpu"}, 20, more=1.1, before=1.0)
    assert usual == "write configure.micro_batch_size: 4 (about 15.2 GB)"


def test_what_was_needed_until_then_does_not_lower_a_prediction():
    assert advice({}, 16, more=0.5) == advice({}, 16)


def test_memory_in_pieces_too_small_asks_for_less_than_was_needed():
    assert "micro_batch_size: 4" in advice({}, there=60)
    # Offloading frees nothing on a CPU.
    least = {**ONE, **ALL_AGAIN, **ONE_RANK, "accelerator": "cpu", "zero_stage": 3}
    assert advice(least, 60) == "no setting alone would do: give the run more memory"


def test_weights_in_4_bits_are_neither_sharded_nor_offloaded():
    plan = make_plan(**PLAN | IN_4BIT)
    changed = {words.split(":")[0] for words, _ in setting_changes(plan)}
    assert "configure.offload_optimizer" in changed
    assert not changed & {"configure.zero_stage", "configure.offload_param"}

"""The strategies among which `configure` chooses."""

from collections import Counter

from chosen_plans import GPUS
from retune.planning.candidates import candidates
from retune.settings import ConfigureSettings, LoraSettings, TrainedWeightsSettings

ALL = TrainedWeightsSettings()
QLORA = TrainedWeightsSettings(lora=LoraSettings(r=4, load_in_4bit=True))


def all_of(trained=ALL, length=4096, **settings):
    section = ConfigureSettings(global_batch_size=64, **settings)
    return list(candidates(section, trained, GPUS, length))


def test_what_is_pinned_stays():
    pinned = {"zero_stage": 3, "micro_batch_size": 2, "activation_checkpointing": True}
    found = all_of(**pinned, offload_optimizer="none")
    assert len(found) == 1
    assert {key: getattr(found[0], key) for key in pinned} == pinned
    assert found[0].offload_param == "none"


def test_every_combination_once():
    found = [one.model_dump_json() for one in all_of()]
    assert len(set(found)) == len(found)
    kinds = Counter(
        (one.zero_stage, one.offload_optimizer, one.offload_param) for one in all_of()
    )
    # Three ways of checkpointing and four sizes of micro-batches.
    assert kinds == dict.fromkeys(
        [
            (2, "none", "none"),
            (2, "cpu", "none"),
            (3, "none", "none"),
            (3, "cpu", "none"),
            (3, "cpu", "cpu"),
        ],
        3 * 4,
    )


def test_micro_batches_divide_the_batch_and_keep_to_what_a_gpu_can_use():
    assert {one.micro_batch_size for one in all_of()} == {1, 2, 4, 8}
    assert {one.micro_batch_size for one in all_of(length=65_536)} == {1, 2}


def test_of_many_micro_batches_few_are_tried():
    section = ConfigureSettings(global_batch_size=8 * 5040)
    found = candidates(section, ALL, GPUS, 64)
    sizes = sorted({one.micro_batch_size for one in found})
    assert sizes[0] == 1
    # The largest that divides 5,040 and is at most 131,072 tokens.
    assert sizes[-1] == 1680
    assert len(sizes) < 20
    assert all(5040 % size == 0 for size in sizes)


def test_weights_in_4_bits_are_not_sharded():
    assert {one.zero_stage for one in all_of(QLORA)} == {2}


def test_a_pipeline_is_trained_with_zero_1():
    found = all_of(pipeline_stages=2)
    assert {one.zero_stage for one in found} == {1}
    assert {one.offload_optimizer for one in found} == {"none"}
    texts = [one.model_dump_json() for one in found]
    assert len(set(texts)) == len(texts)


def test_8_bit_moments_stay_on_the_gpu():
    assert {one.offload_optimizer for one in all_of(optim="adamw_8bit")} == {"none"}

"""What a step's job asks a cluster for: it grows with what makes it take more."""

import pytest

from plans import reasons_of
from retune.planning.hardware import Hardware
from retune.planning.memory_prediction import predict_memory
from retune.planning.strategy import make_plan
from retune.settings import (
    ConfigureSettings,
    FinetuneSettings,
    SampleSettings,
    ScoringSettings,
)
from retune.units import GB
from retune_workflow.job_requests import (
    data_request,
    evaluation_request,
    finetune_request,
    join_request,
    least_runtime,
    sample_request,
    step_seconds,
)
from tiny_facts import tiny_facts
from token_files import write_index

SETTINGS = FinetuneSettings(learning_rate=1e-5)
LENGTH = 4096
# Options for which `configure` knows what to do with a large model.
STRATEGY = {"global_batch_size": 128, "micro_batch_size": 1, "precision": "bf16"}


def plan_of(num_parameters, nodes=1, ranks=8, accelerator="cuda", **strategy):
    """Return the plan of a large model."""
    hardware = Hardware(accelerator, nodes, ranks, 80, None)
    settings = ConfigureSettings(**STRATEGY | strategy)
    facts = tiny_facts(num_parameters=num_parameters)
    return make_plan(settings, hardware, facts, LENGTH, 12_800)[0]


def finetune_memory_gb(plan):
    """Return the main memory of a node, without activations."""
    return predict_memory(plan).main_memory_bytes / GB


@pytest.fixture
def request_of(tmp_path):
    """Return a function from a plan to what `finetune` asks for."""

    def request(plan, blocks=12_800, settings=SETTINGS):
        tokens = tmp_path / "tokens"
        plan.write(tmp_path / "plan.json")
        reasons_of(plan).write(tmp_path / "reasons.json")
        write_index(tokens, blocks * LENGTH, sequence_length=LENGTH)
        return finetune_request(settings, tmp_path / "plan.json", tokens)

    return request


def test_more_parameters_take_more_of_everything(request_of):
    small, large = (request_of(plan_of(size, zero_stage=3)) for size in (10**9, 10**10))
    assert small.mem_mb < large.mem_mb
    assert small.runtime < large.runtime
    assert small.notice_s < large.notice_s


def test_more_steps_take_more_time_and_nothing_else(request_of):
    plan = plan_of(10**9, zero_stage=3)
    short, long = request_of(plan, 1280), request_of(plan, 128_000)
    assert short.runtime < long.runtime
    assert (short.mem_mb, short.notice_s) == (long.mem_mb, long.notice_s)


def test_frequent_checkpoints_take_time(request_of):
    plan = plan_of(7 * 10**9, zero_stage=3)
    seldom, often = (
        request_of(plan, settings=SETTINGS.model_copy(update={"save_steps": steps}))
        for steps in (100, 1)
    )
    # 99 more of 84 GB at 0.5 GB/s.
    assert often.runtime - seldom.runtime > 99 * 84 / 0.5 / 60


def test_time_is_at_least_what_starting_takes_and_twice_the_training(request_of):
    plan = plan_of(10**9, zero_stage=3)
    asked = request_of(plan, 12_800)
    trains = 100 * step_seconds(plan) / 60
    assert 20 + 2 * trains <= asked.runtime <= 20 + 2 * trains + 11


def test_rounding_weights_to_4_bits_is_part_of_the_start(request_of):
    plan = plan_of(7 * 10**10, zero_stage=2)
    in_4bit = plan.model_copy(update={"num_4bit_parameters": 6 * 10**10})
    # Half a minute per billion, in steps of ten minutes.
    assert request_of(in_4bit).runtime - request_of(plan).runtime == 30


@pytest.mark.parametrize(("notice_s", "minutes"), [(120, 22), (300, 25), (301, 26)])
def test_the_least_time_is_to_start_and_to_be_told_of_the_end(notice_s, minutes):
    assert least_runtime(notice_s) == minutes


def test_what_is_asked_for_is_enough_for_a_step(request_of):
    request = request_of(plan_of(7 * 10**10, nodes=8, zero_stage=3), blocks=28_000)
    assert request.runtime > least_runtime(request.notice_s)


def test_the_notice_is_enough_to_write_a_checkpoint(request_of):
    request = request_of(plan_of(10**10, zero_stage=3))
    assert request.notice_s > 12 * 10**10 / 0.5e9 + 60
    # Each node writes its share.
    assert request_of(plan_of(10**10, nodes=4, zero_stage=3)).notice_s < (
        request.notice_s / 2
    )


def test_a_tiny_model_gets_the_least_notice(request_of):
    assert request_of(plan_of(10**6, ranks=1, zero_stage=2)).notice_s in (130, 140)


def test_the_stage_that_shards_the_weights_loads_no_whole_model_in_each_rank():
    third, second = (
        finetune_memory_gb(plan_of(10**10, zero_stage=stage)) for stage in (3, 2)
    )
    # 10 G parameters in bf16 in each of 8 ranks, which is more than each writes of a
    # checkpoint; at stage 3 an eighth of 12 bytes a parameter is.
    assert second - third == pytest.approx(8 * 20 - 120)


def test_offloading_takes_main_memory_of_each_node():
    kept = plan_of(10**10, nodes=2, zero_stage=3)
    offloaded = plan_of(10**10, nodes=2, zero_stage=3, offload_optimizer="cpu")
    both = plan_of(
        *(10**10, 2), zero_stage=3, offload_optimizer="cpu", offload_param="cpu"
    )
    memory = [finetune_memory_gb(plan) for plan in (kept, offloaded, both)]
    # Half of all: 18 bytes a parameter of Adam, 2 of the weights.
    assert memory[1] - memory[0] == pytest.approx(90)
    assert memory[2] - memory[1] == pytest.approx(10)


def test_on_cpus_the_model_states_are_in_main_memory():
    strategy = {"zero_stage": 2, "precision": "fp32"}
    on_gpus = finetune_memory_gb(plan_of(10**9, ranks=2, **strategy))
    on_cpus = finetune_memory_gb(plan_of(10**9, ranks=2, accelerator="cpu", **strategy))
    assert on_cpus - on_gpus > 2 * (4 + (4 + 8) / 2)


def test_on_cpus_gradients_that_add_up_in_fp32_are_in_main_memory_too():
    strategy = {"ranks": 2, "accelerator": "cpu", "zero_stage": 3}
    adding, whole = (
        finetune_memory_gb(plan_of(10**9, micro_batch_size=micro, **strategy))
        for micro in (1, 64)
    )
    # 2 bytes more for each parameter of the two ranks together, between two steps. In a
    # step they are flattened, in fp32, too, and need not be rounded to it.
    assert adding - whole == pytest.approx(2 - 2)


def test_recomputed_activations_take_time():
    plain, recomputed = (
        step_seconds(plan_of(10**9, zero_stage=2, activation_checkpointing=on))
        for on in (False, True)
    )
    assert recomputed == pytest.approx(plain * 4 / 3)


def test_requests_are_whole_gigabytes_and_tens_of_minutes(request_of):
    request = request_of(plan_of(123_456_789, zero_stage=2))
    assert request.mem_mb % 1000 == 0
    assert request.runtime % 10 == 0
    assert request.notice_s % 10 == 0


def test_seventy_billion_parameters_on_eight_nodes_of_eight(request_of):
    plan = plan_of(*(70_553_706_496, 8), zero_stage=3, activation_checkpointing=True)
    request = request_of(plan, blocks=28_000)
    # Each of eight ranks holds an eighth of the 106 GB that a node writes, and 4 GB
    # of its own: 138 GB and a quarter.
    assert request.mem_mb == 173_000
    # 212 s to write that, as many to read it, and two steps of 154 s.
    assert 730 < request.notice_s < 1200
    # 218 steps of 154 s are nine hours and a third; with checkpoints, twice.
    assert 1120 < request.runtime < 1260


def test_without_a_plan_or_tokens_nothing_is_known(tmp_path):
    with pytest.raises(FileNotFoundError):
        finetune_request(SETTINGS, tmp_path / "plan.json", tmp_path / "tokens")
    plan_of(10**6, zero_stage=2).write(tmp_path / "plan.json")
    with pytest.raises(FileNotFoundError):
        finetune_request(SETTINGS, tmp_path / "plan.json", tmp_path / "tokens")


def sized(path, gigabytes):
    """Make a file that says it is so large, and takes no disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(int(gigabytes * 1e9))
    return path


def test_text_is_held_in_memory_several_times_its_size(tmp_path):
    small, large = (sized(tmp_path / f"{gb}/a/b.parquet", gb) for gb in (0.1, 10))
    small, large = data_request(small.parents[1]), data_request(large.parents[1])
    # 4 GB and twenty times the files, and a quarter.
    assert (small.mem_mb, large.mem_mb) == (8_000, 255_000)
    assert small.runtime < large.runtime
    # What is cut short begins anew: there is nothing to save.
    assert large.notice_s == 0


def test_all_folders_count_and_must_be_there(tmp_path):
    one, two = (sized(tmp_path / name / "file", 1).parent for name in ("one", "two"))
    assert data_request(one, two).mem_mb == data_request(one).mem_mb + 25_000
    with pytest.raises(FileNotFoundError):
        data_request(one, tmp_path / "three")


@pytest.fixture
def model(tmp_path):
    """Return the folder of a model of 1B parameters in bf16."""
    folder = sized(tmp_path / "model/model.safetensors", 2).parent
    tiny_facts(num_parameters=10**9, dtype="bfloat16").write(folder)
    return folder


@pytest.fixture
def evaluation_of(model, tmp_path):
    """Return a function from GPUs, MB of text and settings to what `evaluate` asks."""

    def request(gpus, *megabytes, folder=model, **settings):
        documents = [
            sized(tmp_path / f"{number}.parquet", size / 1e3)
            for number, size in enumerate(megabytes)
        ]
        scoring = ScoringSettings(**settings)
        return evaluation_request(scoring, gpus, folder, folder, documents)

    return request


def test_evaluation_takes_more_time_for_more_text_or_without_a_gpu(
    model, evaluation_of
):
    times = [
        join_request(model).runtime,
        evaluation_of([24], 1).runtime,
        evaluation_of([24], 200, dtype="bfloat16").runtime,
        evaluation_of([24], 200, dtype="float32").runtime,
        evaluation_of([], 200).runtime,
    ]
    assert times == sorted(times)
    assert times[1] < times[2] < times[3] < times[4]
    # 4 GB, twice 4 GB of fp32, and a quarter; joining holds a part of the files.
    assert evaluation_of([], 1).mem_mb == 15_000
    assert 5_000 <= join_request(model).mem_mb < 15_000


def test_all_documents_that_are_scored_take_time(evaluation_of):
    # 2 G FLOPs for each of 500 M tokens at 10 TFLOP/s, and as much again.
    bf16 = {"dtype": "bfloat16"}
    some = evaluation_of([24], 100, **bf16)
    more = evaluation_of([24], 100, 500, **bf16).runtime - some.runtime
    assert more == pytest.approx(2 * 2e9 * 5e8 / 1e13 / 60, abs=10)


def test_copies_of_a_model_share_its_documents(evaluation_of):
    one, eight = evaluation_of([24], 500), evaluation_of([24] * 8, 500)
    assert (one.runtime - 20) / (eight.runtime - 20) == pytest.approx(8, abs=3)
    # A process for each; main memory never holds the model but in the page cache.
    assert eight.mem_mb == 43_000


def test_70b_is_evaluated_in_two_copies_on_a_node(evaluation_of, tmp_path):
    large = tmp_path / "large"
    sized(large / "model.safetensors", 141.1)
    facts = tiny_facts(num_parameters=70_553_706_496, num_layers=80, vocab_size=128_256)
    facts.model_copy(update={"dtype": "bfloat16"}).write(large)
    bf16 = {"folder": large, "dtype": "bfloat16"}
    request = evaluation_of([80] * 8, 0.7, 0.8, **bf16)
    # Two processes and the files. 2 x 70.6 G FLOPs for each of 1.5 M tokens.
    assert request.mem_mb == pytest.approx(1.25 * (8 + 141.1) * 1000, abs=1000)
    scoring = 2 * 2 * 70.55e9 * 1.5e6 / 2e13 / 60
    assert request.runtime == pytest.approx(20 + 141 + scoring, abs=10)
    # No GPU of these holds a share of it: its step says so.
    assert evaluation_of([16] * 8, 0.7, 0.8, **bf16).runtime > request.runtime


def test_gpus_may_lack_fast_bf16(evaluation_of, tmp_path):
    folder = tmp_path / "large"
    sized(folder / "model.safetensors", 16)
    tiny_facts(num_parameters=8 * 10**9, dtype="bfloat16").write(folder)
    auto, bf16, fp32 = (
        evaluation_of([24] * 8, 800, folder=folder, dtype=dtype)
        for dtype in ("auto", "bfloat16", "float32")
    )
    # In fp32 there are fewer copies, and each is slower; in bf16 there are more
    # processes.
    assert auto.runtime == fp32.runtime > 3 * bf16.runtime
    assert auto.mem_mb == bf16.mem_mb > fp32.mem_mb
    few = SampleSettings(max_new_tokens=10_000)
    auto, bf16, fp32 = (
        sample_request(few, dtype, [24] * 8, folder, folder)
        for dtype in ("auto", "bfloat16", "float32")
    )
    assert auto == fp32
    assert auto.runtime > bf16.runtime


def test_samples_take_time_for_their_tokens_and_not_for_the_documents(model):
    few, many = SampleSettings(), SampleSettings(prompts=["a"] * 12)
    requests = [
        sample_request(few, "auto", [24], model, model),
        sample_request(many, "auto", [], model, model),
    ]
    # 2 minutes a GB to load both; on CPUs 12 prompts, twice 48 tokens, twice 4 GB read
    # at 2 GB/s, for each of two models.
    assert requests[0].runtime == 30
    assert requests[1].runtime == pytest.approx(20 + 4 + 2 * 2304 * 2 / 60, abs=10)
    # fp32, and twice while it is loaded; on a GPU it passes through.
    assert [request.mem_mb for request in requests] == [8_000, 15_000]


def test_a_model_that_is_not_there_yet_has_no_request(tmp_path):
    with pytest.raises(FileNotFoundError):
        join_request(tmp_path / "model")

"""GPUs that the settings want and the machine lacks are told; what is unsure is not."""

import pytest

from retune.settings import HardwareSettings
from retune_start.gpus import gpu_problem


@pytest.fixture(autouse=True)
def _all_visible(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.fixture
def problem(tmp_path):
    """Return a function from files under / and the settings to what is lacking."""

    def problem(files, trains=True, **hardware):
        for name in files:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        return gpu_problem(HardwareSettings(**hardware), trains, tmp_path)

    return problem


TWO = ["dev/nvidiactl", "dev/nvidia-uvm", "dev/nvidia0", "dev/nvidia1"]
NONE_SHOWN = (
    "hardware.accelerator: cuda, but this machine shows no GPU; accelerator: cpu trains"
    " on its CPUs"
)


@pytest.mark.parametrize("number", [1, 8, "auto"])
def test_a_machine_without_a_gpu_is_told_and_cpu_is_named(problem, number):
    files = ["dev/null"]
    assert problem(files, accelerator="cuda", ranks_per_node=number) == NONE_SHOWN
    assert problem(files, accelerator="cpu") is None
    assert problem(files, accelerator="auto", ranks_per_node=number) is None


@pytest.mark.parametrize("accelerator", ["cuda", "auto"])
def test_more_gpus_than_there_are_are_told_with_both_numbers(problem, accelerator):
    assert problem(TWO, accelerator=accelerator, ranks_per_node=4) == (
        "hardware.ranks_per_node: 4, but this machine shows 2; write 2, or auto for all"
        " there are"
    )
    for number in (1, 2, "auto"):
        assert problem(TWO, accelerator=accelerator, ranks_per_node=number) is None


def test_a_model_is_evaluated_on_one_gpu(problem):
    four = {"accelerator": "cuda", "ranks_per_node": 4}
    assert problem(TWO, trains=False, **four) is None
    assert problem([], trains=False, **four) is None
    assert "write 2" in problem(TWO, trains=True, **four)


@pytest.mark.parametrize(
    ("chosen", "seen"), [("", 0), ("-1", 0), ("7", 0), ("1", 1), ("0, 1", 2)]
)
def test_only_gpus_that_the_user_lets_be_seen_count(problem, monkeypatch, chosen, seen):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    told = problem(TWO, accelerator="cuda", ranks_per_node=seen + 1)
    assert f"(CUDA_VISIBLE_DEVICES={chosen})" in told
    assert f"shows {seen or 'no GPU'}" in told
    if seen:
        assert problem(TWO, accelerator="cuda", ranks_per_node=seen) is None


@pytest.mark.parametrize(
    "files",
    [
        ["dev/kfd"],
        ["dev/dxg"],
        ["dev/nvhost-ctrl"],
        ["proc/driver/nvidia/version"],
    ],
    ids=["AMD", "Windows", "a small board", "a driver not used yet"],
)
def test_what_is_not_sure_is_not_told(problem, files):
    assert problem(files, accelerator="cuda", ranks_per_node=4) is None


def test_gpus_chosen_by_other_names_are_not_counted(problem, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-1234")
    assert problem(TWO, accelerator="cuda", ranks_per_node=4) is None

"""Each run swaps to a folder of its own."""

from plans import make_plan
from retune.artifacts.run_spec import RunSpec
from retune.engines.swap_folders import config_with_swap_folder, remove_swap_files
from retune.settings import FinetuneSettings

NVME, CPU = {"device": "nvme"}, {"device": "cpu"}


def make_run(disk, optimizer, param=None):
    sections = {"offload_optimizer": optimizer, "offload_param": param}
    zero = {key: section for key, section in sections.items() if section}
    return RunSpec(
        settings=FinetuneSettings(learning_rate=0.1),
        base="base",
        tokens="tokens",
        plan=make_plan(),
        deepspeed={"zero_optimization": zero},
        nvme_path=str(disk),
    )


def test_what_goes_to_nvme_goes_to_the_folder_of_the_run(tmp_path):
    run = make_run(tmp_path, NVME, CPU)
    zero = config_with_swap_folder(run, "key")["zero_optimization"]
    assert zero["offload_optimizer"] == {**NVME, "nvme_path": str(tmp_path / "key")}
    assert zero["offload_param"] == CPU
    assert "nvme_path" not in run.deepspeed["zero_optimization"]["offload_optimizer"]


def test_a_run_removes_its_own_folder_alone(tmp_path):
    for name in ("key", "other"):
        (tmp_path / name).mkdir()
    remove_swap_files(make_run(tmp_path, NVME), "key")
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_a_run_without_such_a_disk_removes_nothing(tmp_path, monkeypatch):
    (tmp_path / "key").mkdir()
    monkeypatch.chdir(tmp_path)
    remove_swap_files(make_run("", CPU), "key")
    assert (tmp_path / "key").exists()

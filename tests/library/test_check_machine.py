"""`check` compares a plan with this machine: compilers, memory, and disks."""

import os

import pytest
import torch

from plans import make_plan
from retune.checking import this_machine
from retune.checking.plan import check_deepspeed_config
from retune.checking.sections import Sections
from retune.checking.this_machine import (
    check_compilers,
    check_gpus,
    check_main_memory,
    check_nvme,
    check_room,
    trains_here,
)
from retune.planning.complete_config import CompleteConfig
from retune.planning.deepspeed_config import deepspeed_config
from retune.planning.hardware import Hardware
from retune.planning.memory_prediction import predict_memory
from retune.planning.search import Search
from retune.settings.params import check_params
from retune.steps.configure import PlannedTraining

NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
GPUS = {"accelerator": "cuda", "precision": "bf16"}


@NO_GPU
def test_a_machine_without_gpus_may_be_a_login_node():
    assert trains_here(make_plan())
    assert not trains_here(make_plan(**GPUS))
    assert not trains_here(make_plan(nodes=2))


@NO_GPU
def test_declared_gpus_that_are_not_here_are_no_error():
    outcome = check_gpus(make_plan(**GPUS, nodes=2, ranks_per_node=8))
    assert outcome.state == "not checked"
    assert outcome.found == "2 x 8 GPUs declared, none on this machine"
    assert check_gpus(make_plan()).state == "ok"


@pytest.fixture
def no_tools(tmp_path, monkeypatch):
    """Nothing was compiled, and no program of a compiler is found."""
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "none"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CXX", "c++-of-nobody")
    monkeypatch.setenv("CC", "cc-of-nobody")


OFFLOADED = {"zero_stage": 3, "offload_optimizer": "nvme"}


def test_a_plan_that_compiles_nothing_needs_no_tools(no_tools):
    assert check_compilers(make_plan()).state == "ok"


@NO_GPU
def test_all_that_cannot_be_compiled_is_told(no_tools, tmp_path):
    plan = make_plan(**OFFLOADED, torch_compile=True)
    outcome = check_compilers(plan)
    assert outcome.found == "layers (torch.compile), async_io, cpu_adam"
    layers, async_io, cpu_adam = outcome.errors
    assert "configure.torch_compile needs a compiler" in layers
    told = "configure.offload_optimizer: nvme needs DeepSpeed's "
    assert async_io.startswith(f"{told}async_io, which cannot be compiled without a ")
    assert cpu_adam.startswith(f"{told}cpu_adam, which cannot be compiled without a ")
    assert "c++-of-nobody" in cpu_adam
    assert not (tmp_path / "none").exists()
    # Where another machine trains, that one needs them.
    outcome = check_compilers(plan.model_copy(update=GPUS))
    assert (outcome.state, len(outcome.warnings)) == ("warning", 3)


def test_what_was_compiled_before_needs_no_tools(no_tools, tmp_path):
    for name in ("cpu_adam", "pin_memory", "async_io"):
        folder = tmp_path / "none/py311" / name
        folder.mkdir(parents=True)
        (folder / f"{name}.so").touch()
    assert check_compilers(make_plan(**OFFLOADED)).state == "ok"


def planned(plan, memory_gb=None):
    machines = Hardware("cuda", plan.nodes, plan.ranks_per_node, None, memory_gb)
    memory, config = predict_memory(plan), CompleteConfig(deepspeed_config(plan))
    found = Search(plan, (), memory)
    return PlannedTraining(plan, machines, (), config, memory, found, ())


def test_main_memory_is_compared_with_what_is_declared_and_here():
    plan = make_plan(num_parameters=10**8)
    outcome = check_main_memory(planned(plan, memory_gb=1))
    assert outcome.warnings[0].startswith("hardware.cpu_memory_gb: 1, but ")
    assert check_main_memory(planned(plan, memory_gb=10**6)).state == "ok"
    huge = make_plan(num_parameters=10**13)
    assert "this machine has" in check_main_memory(planned(huge)).warnings[0]
    elsewhere = huge.model_copy(update={"nodes": 2})
    assert check_main_memory(planned(elsewhere)).state == "ok"


def sections_of(**sections):
    values = {"dataset": "builtin", "model": "builtin", **sections}
    return Sections(check_params(values).sections)


def nvme_sections(path, accelerator="cpu"):
    return sections_of(
        hardware={"nvme_path": path, "accelerator": accelerator},
        configure={"offload_optimizer": "nvme", "offload_param": "cpu"},
    )


PLAN = make_plan(
    zero_stage=3, offload_optimizer="nvme", offload_param="cpu", num_parameters=10**9
)


def test_a_folder_for_offloading_may_be_made_later(tmp_path):
    sections = nvme_sections(str(tmp_path / "a/b"))
    outcome = check_nvme(sections, PLAN)
    # Two moments, a copy of the weights and gradients, all fp32.
    assert outcome.found == f"16.0 GB in {tmp_path}/a/b on each node"
    assert outcome.state == "ok"
    assert check_nvme(sections, None).state == "ok"
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_room_for_offloading_is_told(tmp_path):
    sections = nvme_sections(str(tmp_path))
    huge = PLAN.model_copy(update={"num_parameters": 10**14})
    (error,) = check_nvme(sections, huge).errors
    assert error.startswith(f"hardware.nvme_path: {tmp_path}: 1,600,000.0 GB are")


@NO_GPU
@pytest.mark.parametrize("plan", [None, PLAN])
def test_a_folder_that_cannot_be_written_is_told(tmp_path, plan):
    file = tmp_path / "file"
    file.touch()
    (error,) = check_nvme(nvme_sections(f"{file}/x"), plan).errors
    assert error.endswith(f"{file} cannot be written")
    elsewhere = nvme_sections(f"{file}/x", "cuda")
    assert check_nvme(elsewhere, plan).state == "warning"


def test_without_offloading_no_folder_is_needed():
    assert check_nvme(sections_of(), None).state == "ok"


def test_what_the_plan_offloads_decides_where_it_is_known(tmp_path):
    given = sections_of(
        hardware={"nvme_path": str(tmp_path)},
        configure={"overrides": {"zero_optimization": {"stage": 3}}},
    )
    assert check_nvme(given, PLAN).found.startswith("16.0 GB in")
    assert check_nvme(given, make_plan()).found == "nothing is offloaded to disk"
    assert check_nvme(given, None).state == "not checked"


@pytest.mark.parametrize("plan", [None, PLAN])
def test_offloading_to_no_folder_is_told_as_the_settings_tell_it(plan):
    (error,) = check_nvme(nvme_sections(None), plan).errors
    assert error == (
        "configure.offload_optimizer: nvme needs hardware.nvme_path, a folder on a fast"
        " local disk"
    )


def test_checkpoints_and_models_must_fit_on_the_disk(tmp_path):
    assert check_room(make_plan(), 2, tmp_path, 0).state == "ok"
    assert list(tmp_path.iterdir()) == []
    (error,) = check_room(make_plan(num_parameters=10**13), 2, tmp_path, 0).errors
    assert error.startswith(f"{tmp_path}/state: checkpoints will take 640,000.0 GB")
    outcome = check_room(make_plan(), 2, tmp_path, 10**15)
    assert outcome.state == "warning"
    assert "2,000,000.0 GB" in outcome.warnings[0]


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_is_not_the_users_is_told(tmp_path):
    tmp_path.chmod(0o500)
    assert check_room(make_plan(), 2, tmp_path, 0).state == "error"


def test_the_config_of_a_plan_has_no_findings():
    assert check_deepspeed_config(planned(make_plan())).state == "ok"
    assert check_deepspeed_config(planned(PLAN)).state == "ok"


def test_findings_in_the_config_are_told_with_their_keys():
    # No rule lets such a plan through.
    plan = make_plan(zero_stage=1, offload_param="cpu")
    outcome = check_deepspeed_config(planned(plan))
    assert outcome.state == "error"
    assert outcome.errors[0].startswith("deepspeed.json: zero_optimization.offload_pa")


def test_the_nearest_folder_is_asked(tmp_path):
    assert this_machine.nearest(tmp_path / "a/b") == tmp_path

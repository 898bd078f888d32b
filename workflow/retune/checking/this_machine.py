"""Whether this machine has what a plan needs: operators, GPUs, memory and disks."""

import os
import shutil
from pathlib import Path

import torch

from retune.artifacts.plan import Plan
from retune.checking.outcome import Outcome, failed, not_checked
from retune.checking.sections import Sections
from retune.checkpoints.checkpoint_files import check_disk
from retune.errors import RetuneError
from retune.launching.compiled_operators import check_tools
from retune.launching.devices import check_devices
from retune.launching.torch_compiler import check_compiler
from retune.planning.hardware import main_memory_gb
from retune.planning.memory import checkpoint_bytes, offloaded_bytes
from retune.planning.memory_prediction import PROCESS_BYTES
from retune.quantities import counted, size
from retune.settings import ConfigureSettings, HardwareSettings, swap_problems
from retune.settings.user_paths import user_path
from retune.steps.configure import PlannedTraining
from retune.units import GB


def trains_here(machines: Plan | HardwareSettings) -> bool:
    """Return whether this machine may be the one that trains.

    A machine without GPUs is not if the training is for GPUs; it may be a login node.
    """
    has_devices = machines.accelerator != "cuda" or torch.cuda.device_count() > 0
    return machines.nodes == 1 and has_devices


def told_here(found: str, problems: list[str], is_here: bool) -> Outcome:
    """Return problems with this machine: warnings if another one will train.

    Args:
        found: What was looked at, in a few words.
        problems: The problems, a text each.
        is_here: Whether this machine may be the one that trains.
    """
    if is_here:
        return Outcome(found, tuple(problems))
    where = "; on this machine, which may not be the one that trains"
    return Outcome(found, warnings=tuple(f"{text}{where}" for text in problems))


def check_compilers(plan: Plan) -> Outcome:
    """Return whether what a plan compiles can be compiled here."""
    compiled = ["layers (torch.compile)"] if plan.torch_compile else []
    problems: list[str] = []
    try:
        check_compiler(plan)
    except RetuneError as error:
        problems.append(str(error))
    operators, missing = check_tools(plan)
    found = ", ".join([*compiled, *operators]) or "nothing is compiled"
    return told_here(found, problems + missing, trains_here(plan))


def check_gpus(plan: Plan) -> Outcome:
    """Return whether this machine has the GPUs that are declared."""
    if plan.accelerator == "cpu":
        return Outcome(f"none needed: {counted(plan.world_size, 'CPU rank')}")
    declared = f"{plan.nodes} x {counted(plan.ranks_per_node, 'GPU')} declared"
    seen = torch.cuda.device_count()
    if not seen:
        return not_checked(f"{declared}, none on this machine")
    found = f"{declared}, {seen} on this machine"
    try:
        check_devices(plan)
    except RetuneError as error:
        return told_here(found, [str(error)], trains_here(plan))
    return Outcome(found)


def check_main_memory(planned: PlannedTraining) -> Outcome:
    """Return whether a node's main memory holds what its ranks put there."""
    plan, declared = planned.plan, planned.machines.cpu_memory_gb
    # Without what each process takes for itself, which is an estimate on the safe side.
    taken = planned.memory.main_memory_bytes - plan.ranks_per_node * PROCESS_BYTES
    needed = taken / GB
    what = f"model, offloading and saving take {size(taken)} of each node"
    warnings = []
    if declared is not None and needed > declared:
        warnings.append(f"hardware.cpu_memory_gb: {declared:g}, but {what}")
    if trains_here(plan) and needed > (here := main_memory_gb()):
        warnings.append(f"this machine has {here:g} GB of main memory, but {what}")
    return Outcome(what, warnings=tuple(warnings))


def check_nvme(sections: Sections, plan: Plan | None) -> Outcome:
    """Return whether the folder that is offloaded to can be written, and has room.

    Args:
        sections: The sections of params.yaml.
        plan: The plan; None if it is not known.
    """
    configure = sections.part(ConfigureSettings)
    hardware = sections.part(HardwareSettings)
    # A DeepSpeed config of the user's, or the planner, may say where to offload.
    strategy = plan or configure
    if "nvme" not in (strategy.offload_optimizer, strategy.offload_param):
        if plan is None and (configure.deepspeed_config or configure.overrides):
            return not_checked("it needs the plan")
        return Outcome("nothing is offloaded to disk")
    if problems := swap_problems(hardware.nvme_path, strategy):
        return failed(*problems)
    place = nearest(user_path(hardware.nvme_path))
    key = f"hardware.nvme_path: {hardware.nvme_path}"
    found = hardware.nvme_path
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        problems.append(f"{key}: {place} cannot be written")
    elif plan:
        there = offloaded_bytes(plan, "nvme") // plan.nodes
        free = shutil.disk_usage(place).free
        found = f"{size(there)} in {hardware.nvme_path} on each node"
        if free < there:
            problems.append(
                f"{key}: {size(there)} are offloaded to it on each node, and"
                f" {size(free)} are free"
            )
    return told_here(found, problems, trains_here(hardware))


def check_room(
    plan: Plan, save_total_limit: int, results: Path, model_bytes: int
) -> Outcome:
    """Return whether checkpoints and models fit on the disk of the results.

    Args:
        plan: The plan.
        save_total_limit: The setting `finetune.save_total_limit`.
        results: Folder of the run.
        model_bytes: Size of the base model's files.
    """
    if not os.access(results, os.W_OK | os.X_OK):
        return failed(f"{results.absolute()} cannot be written")
    checkpoint = checkpoint_bytes(plan, plan.num_trained)
    checkpoints = (save_total_limit + 2) * checkpoint
    # models/base and models/consolidated; models/tuned has links to that.
    models, free = 2 * model_bytes, shutil.disk_usage(results).free
    found = (
        f"{size(checkpoints)} of checkpoints, {size(models)} of models, {size(free)}"
        " free"
    )
    try:
        check_disk(results / "state", checkpoint, save_total_limit)
    except RetuneError as error:
        return failed(error, found=found)
    if checkpoints + models <= free:
        return Outcome(found)
    return Outcome(
        found,
        warnings=(
            f"{results.absolute()}: checkpoints and models will take"
            f" {size(checkpoints + models)}, less what of them is there already, and"
            f" {size(free)} are free: make room, or lower finetune.save_total_limit",
        ),
    )


def nearest(folder: Path) -> Path:
    """Return a folder, or the nearest one above it that is there."""
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())

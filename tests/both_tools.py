"""What Snakemake and DVC would run, asked often and so without their long start-up.

Both are asked in processes forked from one that has loaded them: the commands
themselves, `snakemake -n train` and `dvc status --json`, are the real ones.
"""

import json
import multiprocessing
import os
import runpy
import sys
import tempfile
from pathlib import Path
from typing import Any

from planned_steps import read_reasons
from retune_dvc.stages import read_stages, with_what_follows
from retune_workflow.manual import ROOT

CONTEXT = multiprocessing.get_context("forkserver")
# What the commands import by and by as well.
CONTEXT.set_forkserver_preload(
    [
        *["snakemake.cli", "snakemake.report", "smart_open", "jinja2"],
        *["dvc.cli", "dvc.commands.status", "dvc.repo", "dvc.stage.cache"],
    ]
)


def planned(folder: Path, environment: dict[str, str], *options: str) -> set[str]:
    """Return the steps that a dry run of the main job would run."""
    shown = command("snakemake", folder, environment, "-n", *options, "train")
    return set(read_reasons(shown))


def stale(folder: Path, environment: dict[str, str]) -> set[str]:
    """Return the steps that DVC finds stale, and what follows them.

    What settings, code and files of the user's make stale it knows once the command of
    its stage `resolve` has run, as it does first in each `dvc repro`.
    """
    stages = read_stages(folder / "dvc.yaml")
    command("retune_dvc", folder, environment, "resolve")
    # The stage `resolve` is another file's; the user's files are looked at each time.
    status = read_status(folder).keys() & stages.keys()
    return set(with_what_follows(status, stages))


def read_status(folder: Path) -> dict[str, Any]:
    """Return what DVC finds changed, by stage."""
    shown = command("dvc", folder, dict(os.environ), "status", "--json")
    return json.loads(shown.splitlines()[-1])


def command(tool: str, folder: Path, environment: dict[str, str], *words: str) -> str:
    """Run a command that must succeed; return what it prints."""
    with tempfile.NamedTemporaryFile("r") as output:
        process = CONTEXT.Process(
            target=run, args=(tool, folder, environment, output.name, words)
        )
        process.start()
        process.join()
        shown = output.read()
    assert process.exitcode == 0, f"{tool} {words}\n{shown}"
    return shown


def run(
    tool: str,
    folder: Path,
    environment: dict[str, str],
    output: str,
    words: tuple[str, ...],
) -> None:
    """Become the command; this process has been forked for it."""
    with open(output, "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [tool, *words]
    # As for the real command: the library comes from the folder, installed or not.
    sys.path.sort(key=is_ours)
    ours = "retune", "retune_dvc"
    for name in [n for n in sys.modules if n.split(".")[0] in ours]:
        del sys.modules[name]
    if tool == "snakemake":
        from snakemake.cli import main
    elif tool == "retune_dvc":
        sys.path.insert(0, str(folder / "workflow"))
        runpy.run_module("retune_dvc", run_name="__main__")
    else:
        from dvc.cli import main
    sys.exit(main(list(words)))


def is_ours(path: str) -> bool:
    """Return whether a folder of sys.path is this checkout's."""
    return path in (str(ROOT / "workflow"), str(ROOT / "tests"))

"""`python -m retune_dvc init`: lets DVC look after a run in another folder.

A run may be any folder with a params.yaml, whose Snakefile is retune's or uses it as a
module. This writes what DVC needs there: dvc.yaml with that Snakefile and its rules.
"""

import os
import shlex
from pathlib import Path

from retune.artifacts.publishing import write_text
from retune.errors import RetuneError
from retune.settings.params import read_params
from retune.sources.local_sources import find_local_sources
from retune.step_code import STEPS
from retune_dvc.commands import call_dvc
from retune_dvc.resolve import read_settings, resolve, write_resolved
from retune_dvc.stages import STAGES
from retune_snakemake.snakemake_internals import TIMESTAMP, default_snakefiles

# The file that Snakemake leaves in a folder that it made is nobody's data.
IGNORED_BY_DVC = (
    *(".snakemake/", TIMESTAMP, "__pycache__/"),
    *("/logs/", "/state/"),
)
IGNORED_BY_GIT = (".snakemake/", "/logs/", "/state/", "/benchmarks/*.tsv")
CACHE_TYPE = "hardlink,reflink,copy"


def init(template: Path, snakefile: str | None, rules: str) -> str:
    """Write dvc.yaml and what DVC and git are to ignore; return what was done.

    Args:
        template: Path of the dvc.yaml that comes with retune.
        snakefile: Path of the run's Snakefile, None for the one which Snakemake finds
            by itself.
        rules: Pattern of the rules' names, in which `*` stands for the step.

    Raises:
        RetuneError: If DVC does not look after this folder, it has a dvc.yaml, its
            params.yaml is wrong, or there is no such Snakefile.
    """
    if not Path(".dvc").is_dir():
        raise RetuneError("there is no .dvc folder here: run `git init` and `dvc init`")
    if STAGES.exists():
        raise RetuneError(f"there is a {STAGES} here already")
    if not template.exists():
        raise RetuneError(f"{template} is missing: retune has to be a whole checkout")
    if "*" not in rules:
        raise RetuneError(f"--rules: {rules} has no *, which stands for the step")
    if snakefile and not Path(snakefile).is_file():
        raise RetuneError(f"--snakefile: there is no file {snakefile}")
    if not snakefile and not any(map(os.path.isfile, default_snakefiles())):
        raise RetuneError("Snakemake finds no Snakefile here: name it by --snakefile")
    params = read_params(read_settings())
    write_resolved(resolve(params, find_local_sources(params)))
    write_text(STAGES, adapt(template.read_text(encoding="utf-8"), snakefile, rules))
    add_lines(Path(".dvcignore"), IGNORED_BY_DVC)
    add_lines(Path(".gitignore"), IGNORED_BY_GIT)
    if not has_cache_type():
        call_dvc("config", "cache.type", CACHE_TYPE)
    return f"{STAGES}, resolved/, .dvcignore and .gitignore are written; commit them"


def adapt(text: str, snakefile: str | None, rules: str) -> str:
    """Return dvc.yaml for another Snakefile, and other names of rules."""
    if snakefile:
        path = os.path.relpath(snakefile)
        if path.startswith(".."):
            # Experiments run in folders of their own, from where it has to be found.
            path = os.path.abspath(snakefile)
        quoted = shlex.quote(path).replace("${", "\\${")
        text = text.replace("--cores all", f"--snakefile {quoted} --cores all")
    for step in STEPS:
        name = shlex.quote(rules.replace("*", step))
        text = text.replace(
            f"--allowed-rules {step} -- {step}\n", f"--allowed-rules {name} -- {name}\n"
        )
    return text


def has_cache_type() -> bool:
    """Return whether the user has chosen how DVC links files."""
    return "cache.type" in call_dvc("config", "--list")


def add_lines(path: Path, lines: tuple[str, ...]) -> None:
    """Add the lines to a file that are not in it."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    missing = [line for line in lines if line not in text.splitlines()]
    if missing:
        end = "" if not text or text.endswith("\n") else "\n"
        write_text(path, text + end + "\n".join(missing) + "\n")

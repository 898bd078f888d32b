"""The folder `resolved`: what DVC's stages go by besides data.

params.yaml may leave settings out, spell numbers in many ways and name files of the
user's; dvc.yaml knows none of that. So `resolved/` holds, made of it:

- params.yaml: every setting that decides a result, with its default where the user
  wrote none;
- dataset_files.txt, model_files.txt, configure_files.txt: MD5 and path of each file of
  the user's that the section names, as `md5sum --check` reads them;
- code.yaml: a hash of the code that each step depends on;
- dvc.yaml: DVC's stage `resolve`, which makes these files anew when that changes.

The stages of dvc.yaml depend on the first three, so what does not change them reruns
nothing. A run of Snakemake's that is recorded writes them as it begins.
"""

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from retune.artifacts.publishing import read_json, write_json, write_text
from retune.errors import RetuneError
from retune.settings import Params
from retune.settings.params_file import read_params_file
from retune.sources.file_hashes import list_with_md5
from retune.step_code import LIBRARY, STEPS, hash_code
from retune_dvc.commands import call_dvc
from retune_dvc.fingerprints import fingerprint, fingerprint_files
from retune_dvc.stages import RESOLVED_PARAMS, USER_FILES, Stage
from retune_start.folders import writing_problem

SETTINGS = Path("params.yaml")
RESOLVED_CODE = "resolved/code.yaml"
RESOLVED_FILES = (RESOLVED_PARAMS, RESOLVED_CODE, *USER_FILES)
STAGE_FILE = "resolved/dvc.yaml"
RESOLVE_STAGE = f"{STAGE_FILE}:resolve"
RESOLVE_LOCK = "resolved/dvc.lock"
# Holds a fingerprint of what DVC last recorded of this folder.
RECORDED = Path(".snakemake/retune_dvc/resolved.json")
HEAD = (
    "# Written by retune, from params.yaml; edit that. {what}\n"
    "# More: docs/dvc.md of retune.\n"
)
# How `${` is written in dvc.yaml, where it would begin a variable.
DVC_DOLLAR = "\\${"


@dataclass(frozen=True)
class Resolved:
    """What the files of `resolved/` hold.

    Attributes:
        params: Every setting that decides a result, by section.
        code: Hash of the code that each step depends on.
        files: List of the user's files with their MD5, by the section that names them.
        stage: DVC's stage `resolve`, as its YAML has it.
    """

    params: dict[str, object]
    code: dict[str, str]
    files: dict[str, str]
    stage: dict[str, object]

    def texts(self) -> dict[str, str]:
        """Return each file's text."""
        lists = {
            path: HEAD.format(what="MD5 of your files.") + self.files[section]
            for path, section in USER_FILES.items()
        }
        stages = {"stages": {"resolve": self.stage}}
        return {
            RESOLVED_PARAMS: as_yaml("The settings that decide results.", self.params),
            RESOLVED_CODE: as_yaml("A hash of each step's code.", self.code),
            **lists,
            STAGE_FILE: as_yaml("When resolved/ is made anew.", stages),
        }

    def differs_in(self, other: "Resolved") -> list[str]:
        """Return the kinds of content in which another one differs, in words."""
        kinds = {"settings": "params", "files of yours": "files", "code": "code"}
        return [
            kind
            for kind, name in kinds.items()
            if getattr(self, name) != getattr(other, name)
        ]

    def read_by(self, name: str, stage: Stage) -> list[object]:
        """Return the code, settings and files that one stage goes by, for comparing."""
        return [
            self.code.get(name),
            {setting: look_up(self.params, setting) for setting in stage.params},
            {section: self.files.get(section) for section in stage.user_files},
        ]


def resolve(params: Params, sources: dict[str, list[str]]) -> Resolved:
    """Return what `resolved/` should hold.

    Args:
        params: The settings.
        sources: Paths of the user's files that sections name, by section.

    Raises:
        RetuneError: If some of these files cannot be read.
    """
    return Resolved(
        params=params.decisive(),
        code={step: hash_code(step) for step in STEPS},
        files={section: list_with_md5(paths) for section, paths in sources.items()},
        stage=resolve_stage(sources),
    )


def read_resolved() -> Resolved:
    """Return what `resolved/` holds; what is missing or cannot be read is empty."""
    return Resolved(
        params=read_mapping(RESOLVED_PARAMS),
        code=read_mapping(RESOLVED_CODE),
        files={section: read_list(path) for path, section in USER_FILES.items()},
        stage={},
    )


def write_resolved(resolved: Resolved) -> None:
    """Write the files of `resolved/` that are not yet as they should be.

    Raises:
        RetuneError: If they cannot be written.
    """
    for name, text in resolved.texts().items():
        path = Path(name)
        if path.exists() and read_text(name) == text:
            continue
        if problem := writing_problem([], [], [str(path.parent)], []):
            raise RetuneError(problem)
        path.parent.mkdir(exist_ok=True)
        write_text(path, text)


def is_recorded(resolved: Resolved) -> bool:
    """Return whether DVC has recorded `resolved/` and the params.yaml behind it."""
    try:
        return read_json(RECORDED) == recorded_state(resolved)
    except (OSError, ValueError):
        return False


def record_resolved(resolved: Resolved) -> None:
    """Write `resolved/` and let DVC record it, unless it has recorded it already.

    Raises:
        UnknownStateError: If DVC cannot do so now.
        RetuneError: If `resolved/` cannot be written.
    """
    write_resolved(resolved)
    if not is_recorded(resolved):
        # Two branches conflict in it: it follows from the files beside it.
        if not read_mapping(RESOLVE_LOCK):
            Path(RESOLVE_LOCK).unlink(missing_ok=True)
        call_dvc("commit", "--force", RESOLVE_STAGE)
        write_json(RECORDED, recorded_state(resolved))


def recorded_state(resolved: Resolved) -> str:
    """Return a fingerprint of all that DVC compares of the stage `resolve`."""
    params = fingerprint_files([str(SETTINGS)])
    return fingerprint([resolved.texts(), read_text(RESOLVE_LOCK), params])


def resolve_stage(sources: dict[str, list[str]]) -> dict[str, object]:
    """Return DVC's stage that makes `resolved/`."""
    # An experiment of DVC's runs with the code of its own folder.
    is_here = LIBRARY.is_relative_to(Path.cwd())
    library = os.path.relpath(LIBRARY) if is_here else str(LIBRARY)
    # The user's own shell, which DVC starts, may be none that reads such a line.
    command = (
        """sh -c 'PYTHONPATH="$0:$PYTHONPATH" python -m retune_dvc resolve' """
        + shlex.quote(os.path.dirname(library))
    ).replace("${", DVC_DOLLAR)
    # DVC would fail at a file that is gone, and cannot know of one that has come to a
    # folder: the stage looks at the user's files itself, each time. So it does at code
    # that is elsewhere.
    sees_all = is_here and not any(sources.values())
    when = {"deps": [library]} if sees_all else {"always_changed": True}
    return {
        "wdir": "..",
        "cmd": command,
        **when,
        "params": [{str(SETTINGS): None}],
        "outs": [{path: {"cache": False, "persist": True}} for path in RESOLVED_FILES],
    }


def read_settings() -> dict[str, Any]:
    """Return params.yaml as it is written.

    Raises:
        RetuneError: If it cannot be read.
    """
    try:
        return read_params_file(SETTINGS)
    except FileNotFoundError:
        raise RetuneError(f"there is no {SETTINGS} here") from None


def look_up(params: dict[str, object], name: str) -> object:
    """Return a section, or one key of it: `hardware.accelerator`."""
    section, _, key = name.partition(".")
    value = params.get(section)
    return value.get(key) if key and isinstance(value, dict) else value


def as_yaml(what: str, value: Mapping[str, object]) -> str:
    """Return the text of a file of `resolved/` that holds a value.

    Args:
        what: Sentence that says what the file holds.
        value: Its content.
    """
    text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=88)
    return HEAD.format(what=what) + text


def read_mapping(path: str) -> dict[str, Any]:
    """Return the mapping in a YAML file; an empty one if it cannot be read."""
    try:
        found = yaml.safe_load(read_text(path))
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, dict) else {}


def read_list(path: str) -> str:
    """Return the lines of a list of files, without the head of it."""
    lines = read_text(path).split("\n")
    return "\n".join(line for line in lines if not line.startswith("#"))


def read_text(path: str) -> str:
    """Return a file's text; none if it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""

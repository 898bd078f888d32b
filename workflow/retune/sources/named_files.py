"""The local files that the section `dataset` names, found by their names alone.

Nothing is read of them here: Snakemake and DVC look for them whenever they start, so
this module stays without the libraries that read them.
"""

import os
from dataclasses import dataclass
from glob import glob
from pathlib import Path

from retune.artifacts.publishing import MANIFEST, read_sealed
from retune.errors import RetuneError
from retune.settings import SPLITS, SourceSettings, Split
from retune.settings.text_formats import ALLOWED, format_of
from retune.settings.user_paths import user_path


@dataclass(frozen=True)
class LocalFiles:
    """All files that the section `dataset` names.

    Attributes:
        splits: Files to read, by split.
        left_out: Files in a folder whose names do not end like those of texts.
    """

    splits: dict[Split, list[Path]]
    left_out: list[Path]


@dataclass(frozen=True)
class NamedFiles:
    """The files that one name stands for.

    Attributes:
        texts: Files to read.
        left_out: Files in a folder whose names do not end like those of texts.
        problems: Reasons why the name cannot be read, in words for the user.
    """

    texts: list[Path]
    left_out: list[Path]
    problems: list[str]


def find_files(settings: SourceSettings) -> LocalFiles:
    """Return the files of each split; those of a folder or a glob are sorted by name.

    Raises:
        RetuneError: Naming every name that stands for no file that can be read.
    """
    splits: dict[Split, list[Path]] = {}
    left_out: list[Path] = []
    problems = []
    for split in SPLITS:
        for name in (settings.files or {}).get(split, []):
            found = files_named(name)
            splits.setdefault(split, []).extend(found.texts)
            left_out += found.left_out
            problems += [f"dataset.files.{split}: {what}" for what in found.problems]
    if problems:
        raise RetuneError("\n".join(problems))
    return LocalFiles(
        {split: list(dict.fromkeys(files)) for split, files in splits.items()},
        list(dict.fromkeys(left_out)),
    )


def files_named(name: str) -> NamedFiles:
    """Return the files that a name stands for.

    A name is a file, or a folder with all that is below it; if neither is there, it is
    a glob. A folder that a glob matches counts with all that is below it.
    """
    if not name:
        return NamedFiles([], [], ["an empty text names no file"])
    matches = paths_named(name)
    folders = sorted(match for match in matches if match.is_dir())
    files = {match for match in matches if not match.is_dir()}
    below, problems = files_below(folders)
    found = sorted(files | below)
    broken = [file for file in found if not file.exists()]
    texts = [file for file in found if format_of(file) and file.is_file()]
    others = [file for file in found if not format_of(file)]
    wrong = [file for file in others if file in files and file.is_file()]
    problems += [f"{file} is a link to nothing" for file in broken if format_of(file)]
    problems += [f"{file} should end in {ALLOWED}" for file in wrong]
    if not texts and not problems:
        problems = [
            f"{name} holds no file that ends in {ALLOWED}"
            if folders
            else f"no file matches {name}"
        ]
    return NamedFiles(texts, others, problems)


def paths_named(name: str) -> list[Path]:
    """Return the path of this very name, or else what it matches as a glob.

    What lies in a folder that a step has made is never matched by a glob.
    """
    path = user_path(name)
    if path.exists():
        return [path]
    pattern = f"{path}/" if name.endswith("/") else str(path)
    matched = {Path(match) for match in glob(pattern, recursive=True)}
    places = matched.union(*(match.parents for match in matched))
    made = {place for place in places if is_of_a_step(place)}
    return [m for m in matched if made.isdisjoint((m, *m.parents))]


def files_below(folders: list[Path]) -> tuple[set[Path], list[str]]:
    """Return the files that folders hold at any depth, and what cannot be read.

    Hidden files are left out, and so is what a step has made. Links are followed; a
    folder that several links lead to is read once.
    """
    problems = [
        f"{folder} holds the run itself: give the texts a folder of their own"
        for folder in folders
        if Path.cwd().is_relative_to(folder.resolve())
    ]
    if problems:
        return set(), problems

    def note(error: OSError) -> None:
        problems.append(f"{error.filename}: {error.strerror}")

    found: set[Path] = set()
    seen: set[str] = set()
    for folder in folders:
        for place, below, names in os.walk(folder, onerror=note, followlinks=True):
            real = os.path.realpath(place)
            below[:] = sorted(
                name
                for name in below
                if not name.startswith(".") and not is_of_a_step(Path(place, name))
            )
            if real in seen:
                below.clear()
                continue
            seen.add(real)
            found |= {Path(place, name) for name in names if name[0] != "."}
    return found, problems


def is_of_a_step(folder: Path) -> bool:
    """Return whether a step has made a folder, as its manifest says."""
    manifest = folder / MANIFEST
    return manifest.is_file() and read_sealed(manifest) is not None

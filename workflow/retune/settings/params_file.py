"""Reads a settings file, and says at which line and column it is broken."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from retune.errors import RetuneError
from retune.quantities import counted
from retune.settings.encodings import UTF_16
from retune.settings.yaml_problems import Place, Problem, explain_yaml_error

SHORTEST = "two lines will do:\n    dataset: builtin\n    model: builtin"


class SettingsLoader(yaml.SafeLoader):
    """A loader whose errors have a place, also those in making a value."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Return a value, or raise an error with its place.

        PyYAML alone raises errors without one, for a date that no calendar has, say.
        """
        try:
            return super().construct_object(node, deep)
        except (KeyError, AttributeError):  # of a tag, such as !!bool
            raise yaml.constructor.ConstructorError(
                None, None, f"this is no value of {node.tag}", node.start_mark
            ) from None
        except ValueError as error:
            raise yaml.constructor.ConstructorError(
                None, None, f"{error}; quotes make it text", node.start_mark
            ) from None


def read_params_file(path: Path, name: str | None = None) -> dict[str, Any]:
    """Return what a settings file says, before its keys and values are checked.

    Args:
        path: The file, YAML or JSON.
        name: Name of the file for messages; by default its path.

    Raises:
        FileNotFoundError: If there is none.
        RetuneError: If it cannot be read: with line, column and what is wrong there.
    """
    name = name or str(path)
    text = read_text(path, name)
    of_json = read_json_object(text)
    if of_json is not None:
        # JSON is YAML, but for tabs between its values; in its texts there are none.
        text = text.replace("\t", " ")
    try:
        root = yaml.compose(text, Loader=SettingsLoader)
        values = yaml.load(text, Loader=SettingsLoader)
    except yaml.YAMLError as error:
        raise broken(name, text, explain_yaml_error(error, text)) from None
    except RecursionError:
        raise RetuneError(f"{name}: is nested too deeply") from None
    if root is None:
        raise RetuneError(f"{name}: holds no settings; {SHORTEST}")
    if not isinstance(root, yaml.MappingNode):
        raise broken(name, text, not_a_mapping(root))
    if lines := list(key_problems(root)):
        raise all_problems(name, lines)
    return values if of_json is None else of_json


def check_params_files(own: Path, others: Sequence[Path]) -> None:
    """Raise RetuneError, with all that is wrong, unless each of these can be read.

    Args:
        own: The workflow's own file, which need not exist if there are others.
        others: Files that the command line names.
    """
    problems = []
    for path in settings_files(own, others):
        try:
            read_params_file(path, shortest_name(path))
        except FileNotFoundError:
            problems.append(
                f"{path}: there is none in {path.absolute().parent}; run snakemake"
                " where it is, or name that folder: --directory FOLDER"
            )
        except RetuneError as error:
            problems.append(str(error))
    if problems:
        raise RetuneError("\n".join(problems))


def settings_files(own: Path, others: Sequence[Path]) -> list[Path]:
    """Return the files of a run, each once; a later one overrides those before."""
    first = [own] if own.exists() or not others else []
    return list(dict.fromkeys([*first, *others]))


def name_settings(own: Path, others: Sequence[Path], options: Iterable[str]) -> str:
    """Return a name, for messages, of all that the settings of a run come from.

    Args:
        own: The workflow's own file, which need not exist if there are others.
        others: Files that the command line names.
        options: Names of settings that the command line gives itself.
    """
    first, *more = map(shortest_name, settings_files(own, others))
    if any(options):
        more.append("--config")
    return f"{first} with {', '.join(more)}" if more else first


def shortest_name(path: Path) -> str:
    """Return a path relative to the current folder, if it is in that."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def read_text(path: Path, name: str) -> str:
    """Return the text of a settings file."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise RetuneError(f"{name}: {error.strerror}") from None
    if content.startswith(UTF_16):
        raise RetuneError(f"{name}: is UTF-16; save it as UTF-8")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        before = content[: error.start].decode()
        what = f"the byte 0x{content[error.start]:02x} is no UTF-8; save it as UTF-8"
        text = content.decode(errors="replace")
        raise broken(name, text, Problem(Place.after(before), what)) from None


def all_problems(name: str, lines: Sequence[str]) -> RetuneError:
    """Return an error that counts and lists the problems of a settings file."""
    return RetuneError(
        "\n  ".join([f"{name}: {counted(len(lines), 'problem')}", *lines])
    )


def broken(name: str, text: str, problem: Problem) -> RetuneError:
    """Return an error that shows the line where the problem is."""
    place = problem.place
    lines = text.splitlines()
    line = lines[place.line] if place.line < len(lines) else ""
    line = "".join(char if char.isprintable() else "→" for char in line)
    return RetuneError(
        f"{name}, line {place.line + 1}, column {place.column + 1}: {problem.what}"
        + (f"\n    {line.rstrip()[:80]}" if line.strip() else "")
    )


def read_json_object(text: str) -> dict[str, Any] | None:
    """Return the JSON object that a text is, None if it is none."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) else None


def not_a_mapping(root: yaml.Node) -> Problem:
    """Return what is wrong with a file that is a list, or text."""
    what = "a list" if isinstance(root, yaml.SequenceNode) else "text"
    return Problem(
        Place.of(root.start_mark),
        f"the file is {what}; it should be `key: value` lines, with a space after the"
        " colon",
    )


def key_problems(root: yaml.MappingNode) -> Iterator[str]:
    """Yield a problem for each key that is no text, or is twice in one section."""
    for section, node in mappings_in(root, "", set()):
        first_lines: dict[str, int] = {}
        for key, _ in node.value:
            line, path = key.start_mark.line + 1, f"{section}{key.value}"
            kind = key.tag.removeprefix("tag:yaml.org,2002:")
            if kind == "merge":
                continue
            if kind != "str":
                yield f"{path}: line {line}: no setting; YAML reads this key as {kind}"
            elif key.value in first_lines:
                lines = f"lines {first_lines[key.value]} and {line}"
                yield f"{path}: is written twice, on {lines}; keep one of them"
            first_lines.setdefault(key.value, line)


def mappings_in(
    node: yaml.Node, path: str, seen: set[int]
) -> Iterator[tuple[str, yaml.MappingNode]]:
    """Yield each mapping in a value, after the prefix of its keys: `section.`.

    Args:
        node: The value.
        path: Prefix of the keys in it.
        seen: Identities of the values that were yielded already: by an anchor one may
            be in several places.
    """
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for entry in node.value:
            yield from mappings_in(entry, path, seen)
    elif isinstance(node, yaml.MappingNode):
        yield path, node
        for key, value in node.value:
            yield from mappings_in(value, f"{path}{key.value}.", seen)

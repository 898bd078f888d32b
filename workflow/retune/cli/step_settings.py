"""The settings of a step that is run by hand: from a file, or as JSON."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import ValidationError

from retune import settings
from retune.cli.step_arguments import Argument, read_signature
from retune.errors import RetuneError
from retune.settings import HardwareSettings, Params, Settings
from retune.settings.params import problem_lines, read_params
from retune.settings.params_file import read_params_file
from retune.settings.renamed_keys import renaming_hints

# A value that `run` of a step takes: a path, settings, or a single setting.
StepValue = Path | Settings | str


def step_values(given: argparse.Namespace) -> dict[str, StepValue]:
    """Return the arguments of a step's `run` from what the command line gives.

    Raises:
        RetuneError: If settings are given twice, or not at all, or are wrong.
    """
    arguments = read_signature(given.step).arguments
    values = {argument.name: getattr(given, argument.name) for argument in arguments}
    beside = [a for a in arguments if not a.is_path and a.name != "settings"]
    operational = getattr(given, "operational", None)
    path = given.params
    if path is None:
        if missing := [a.option for a in beside if values[a.name] is None]:
            raise RetuneError(f"--settings needs {' and '.join(missing)}, too")
        if operational:
            values["settings"] = with_operational(values["settings"], operational)
        return values
    if operational:
        raise RetuneError(f"--operational: --params {path} says it already")
    if twice := [a.option for a in beside if values[a.name] is not None]:
        raise RetuneError(f"{' and '.join(twice)}: --params {path} says it already")
    params = read_settings_file(path)
    from_file = {a.name: settings_of(a, params) for a in arguments if not a.is_path}
    return values | from_file


def with_operational(settings: Settings, operational: dict[str, Any]) -> Settings:
    """Return settings with some of the keys that decide nothing of a result.

    Args:
        settings: The section.
        operational: Keys and their values, as JSON has them.

    Raises:
        RetuneError: If a key decides results, or has a wrong value.
    """
    model = type(settings)
    if others := sorted(operational.keys() - model.OPERATIONAL):
        raise RetuneError(f"--operational: {', '.join(others)}: this decides results")
    try:
        return model.model_validate({**settings.model_dump(), **operational})
    except ValidationError as error:
        problems = "; ".join(problem_lines(error, model))
        raise RetuneError(f"--operational: {problems}") from error


def read_settings_file(path: Path) -> Params:
    """Return the checked settings of a file.

    Raises:
        RetuneError: If it cannot be read, or is wrong.
    """
    try:
        values = read_params_file(path)
    except FileNotFoundError:
        raise RetuneError(f"--params: there is no file {path}") from None
    for hint in renaming_hints(values):
        print(f"warning: {path}: {hint}", file=sys.stderr)
    return read_params(values, str(path))


def settings_of(argument: Argument, params: Params) -> Settings | str:
    """Return the part of params.yaml that an argument is."""
    if argument.type == "str":
        value = getattr(params.hardware, argument.name)
        return "" if value is None else str(value)
    model = model_of(argument)
    sections = [getattr(params, name) for name in Params.model_fields]
    found = next(part for part in [params, *sections] if isinstance(part, model))
    return model.part_of(found)


def choices_of(argument: Argument) -> Sequence[str] | None:
    """Return the values of an argument that is one setting of `hardware`; None: any."""
    annotation = HardwareSettings.model_fields[argument.name].annotation
    return get_args(annotation) if get_origin(annotation) is Literal else None


def setting_type(argument: Argument) -> Callable[[str], str]:
    """Return an argparse type that checks a text that is one setting of `hardware`.

    No text at all stands for a setting that has no value.
    """

    def parse(text: str) -> str:
        try:
            HardwareSettings.model_validate({argument.name: text or None})
        except ValidationError as error:
            problems = "; ".join(problem_lines(error, HardwareSettings))
            raise argparse.ArgumentTypeError(f"hardware.{problems}") from error
        return text

    return parse


def settings_type(argument: Argument) -> Callable[[str], Settings]:
    """Return an argparse type that reads settings from JSON and says what is wrong."""
    model = model_of(argument)

    def parse(text: str) -> Settings:
        try:
            return model.model_validate_json(text)
        except ValidationError as error:
            problems = "; ".join(problem_lines(error, model))
            raise argparse.ArgumentTypeError(problems) from error

    return parse


def model_of(argument: Argument) -> type[Settings]:
    """Return the model of the settings that an argument is."""
    model = getattr(settings, argument.type)
    assert issubclass(model, Settings)
    return model

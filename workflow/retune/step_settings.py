"""The settings of a step that is run by hand: of a file, or as JSON."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from retune import settings
from retune.errors import RetuneError
from retune.params import describe_problems, read_params
from retune.params_file import read_params_file
from retune.settings import HardwareSettings, Params, Settings
from retune.step_arguments import Argument, describe_step


def choices_of(argument: Argument) -> Sequence[str]:
    """Return the values of an argument that is one setting of `hardware`."""
    return get_args(HardwareSettings.model_fields[argument.name].annotation)


def take_settings(step: str, arguments: dict[str, Any]) -> None:
    """Fill in the settings that come from a file; say what lacks beside JSON.

    Raises:
        RetuneError: If some are given twice, or not at all, or the file is wrong.
    """
    path = arguments.pop("params")
    wanted = [a for a in describe_step(step).arguments if a.type != "Path"]
    others = [a for a in wanted if a.name != "settings"]
    if path is None:
        if missing := [a.option for a in others if arguments[a.name] is None]:
            raise RetuneError(f"--settings needs {' and '.join(missing)}, too")
        return
    if twice := [a.option for a in others if arguments[a.name] is not None]:
        raise RetuneError(f"{' and '.join(twice)}: --params {path} says it already")
    params = read_settings_file(path)
    for argument in wanted:
        arguments[argument.name] = settings_of(argument, params)


def read_settings_file(path: Path) -> Params:
    """Return the checked settings of a file.

    Raises:
        RetuneError: If it cannot be read, or is wrong.
    """
    try:
        return read_params(read_params_file(path), str(path))
    except FileNotFoundError:
        raise RetuneError(f"--params: there is no file {path}") from None


def settings_of(argument: Argument, params: Params) -> Any:
    """Return the part of params.yaml that an argument is."""
    if argument.type == "str":
        return getattr(params.hardware, argument.name)
    model = model_of(argument)
    parts = [params, *(getattr(params, name) for name in Params.model_fields)]
    return next(part for part in parts if isinstance(part, model))


def settings_type(argument: Argument) -> Callable[[str], Settings]:
    """Return an argparse type that reads settings from JSON and says what is wrong."""
    model = model_of(argument)

    def parse(text: str) -> Settings:
        try:
            return model.model_validate_json(text)
        except ValidationError as error:
            problems = "; ".join(describe_problems(error, model))
            raise argparse.ArgumentTypeError(problems) from error

    return parse


def model_of(argument: Argument) -> type[Settings]:
    """Return the model that an argument's type names."""
    return getattr(settings, argument.type)

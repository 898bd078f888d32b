"""What the user gives of the DeepSpeed config: a file, and what is merged over it.

`configure.deepspeed_config` names the file, `configure.overrides` holds the rest. Keys
are called by their full names with dots, as in `zero_optimization.stage`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from retune.errors import RetuneError
from retune.linting.config_file import UnusableInputError, read_config_file
from retune.linting.finding import Finding
from retune.linting.known_keys import DTYPES, TOP, at
from retune.linting.value import Section, Value
from retune.settings import ConfigureSettings, Precision
from retune.settings.user_paths import user_path

OVERRIDES = "configure.overrides"
ZERO = "zero_optimization"
SCHEDULE = "scheduler.type"
TOTAL = "train_batch_size"


@dataclass(frozen=True)
class GivenConfig:
    """A part of a DeepSpeed config, or a whole one.

    Attributes:
        written: The file with the overrides merged over it, as they are written.
        values: The same by the first name of each key, without `null` and without
            keys that DeepSpeed does not know.
        file: Path of the file, as params.yaml has it; empty if there is none.
        overrides: The overrides alone.
        findings: What is wrong with how the file is written.
    """

    written: Mapping[str, Any]
    values: Mapping[str, Any]
    file: str
    overrides: Mapping[str, Any]
    findings: tuple[Finding, ...]

    def value(self, key: str) -> Any:
        """Return the value of a key; None if it is not given, is wrong or is "auto"."""
        found, known = look_up(self.values, key), at(key)
        assert isinstance(known, Value), key
        if found == "auto" or found is None or not known.accepts(found):
            return None
        return known.converted(found)

    def origin(self, key: str) -> str:
        """Return where a key, or what is in it or around it, is given."""
        # A key may be written by another name of it.
        overrides = merged(canonical(self.overrides), self.overrides)
        written = merged(self.values, self.written)
        for name in reversed(list(prefixes(key))):
            if look_up(overrides, name) is not None:
                return OVERRIDES
            if look_up(written, name) is not None:
                return self.file or OVERRIDES
        return ""

    def where(self, key: str) -> str:
        """Return the name of a key with that of what gives it, for messages."""
        if key == self.path:
            return self.file
        origin = self.origin(key)
        if key == TOTAL and look_up(self.written, key) in (None, "auto"):
            return f"configure.global_batch_size (with {self.name})"
        if not origin:
            return f"{key} (with {self.name})"
        return f"{OVERRIDES}.{key}" if origin == OVERRIDES else f"{origin}: {key}"

    @property
    def schedule(self) -> str:
        """Type of the schedule; empty if none is given."""
        found = look_up(self.values, SCHEDULE)
        return found if isinstance(found, str) else ""

    @property
    def path(self) -> str:
        """Path of the file as it is opened; empty if there is none."""
        return str(user_path(self.file)) if self.file else ""

    @property
    def name(self) -> str:
        """The file, the overrides, or both, for messages."""
        names = [self.file, OVERRIDES if self.overrides else ""]
        return " and ".join(filter(None, names))

    def in_words(self, finding: Finding) -> str:
        """Return a finding in one line."""
        return f"{self.where(finding.key)}: {finding.happens}; {finding.mend}"


def read_given(settings: ConfigureSettings) -> GivenConfig | None:
    """Return what the user gives of the DeepSpeed config; None if that is nothing.

    Args:
        settings: The `configure` section.

    Raises:
        RetuneError: If the file is missing, cannot be read or holds no config.
    """
    file, overrides = settings.deepspeed_config or "", settings.overrides
    if not file and not overrides:
        return None
    config: dict[str, Any] = {}
    findings: list[Finding] = []
    if file:
        config, findings = read_file(file)
    written = merged(config, overrides)
    values = canonical(written)
    return GivenConfig(written, values, file, overrides, tuple(findings))


def read_file(file: str) -> tuple[dict[str, Any], list[Finding]]:
    """Return the object in the user's file, and the findings in how it is written."""
    setting = "configure.deepspeed_config"
    path = user_path(file)
    if not path.is_file():
        raise RetuneError(f"{setting}: there is no file {file}")
    try:
        return read_config_file(path, transformers=False)
    except UnusableInputError as error:
        raise RetuneError(f"{setting}: {error}") from error
    except RecursionError as error:
        raise RetuneError(f"{setting}: {file} is nested too deeply") from error


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config with another merged over it; objects are merged key by key."""
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        result[key] = merged(below, value) if both and below is not None else value
    return result


def canonical(written: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config by the first name of each key that DeepSpeed knows.

    Old forms become the new ones. `null` asks for nothing, and is left out.
    """
    config = dict(written)
    if config.get("bf16") is None and "bfloat16" in config:
        config["bf16"] = config["bfloat16"]
    config.pop("bfloat16", None)
    zero = config.get(ZERO)
    if isinstance(zero, bool):
        config[ZERO] = {"stage": int(zero)}
    elif isinstance(zero, Mapping):
        config[ZERO] = without_old_names(zero)
    return known_keys(config, TOP)


def without_old_names(zero: Mapping[str, Any]) -> dict[str, Any]:
    """Return the section of ZeRO without the keys that DeepSpeed has renamed."""
    section = dict(zero)
    for old, new in {
        "cpu_offload": "offload_optimizer",
        "cpu_offload_param": "offload_param",
    }.items():
        if section.pop(old, None) is True:
            section.setdefault(new, {"device": "cpu"})
    section.pop("cpu_offload_use_pin_memory", None)
    gathers = section.pop("stage3_gather_fp16_weights_on_model_save", None)
    if gathers is not None:
        section.setdefault("stage3_gather_16bit_weights_on_model_save", gathers)
    return section


def known_keys(config: Mapping[str, Any], section: Section) -> dict[str, Any]:
    """Return an object's known keys by their first names, without `null`."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        first = section.other_names.get(name, name)
        known = section.keys.get(first)
        if value is None or (known is None and not section.more):
            continue
        if isinstance(known, Section) and isinstance(value, Mapping):
            value = known_keys(value, known)
        found[first] = value
    return found


def look_up(config: Mapping[str, Any], key: str) -> Any:
    """Return the value of a key by its full name; None if it is not there."""
    node: Any = config
    for part in key.split("."):
        if not isinstance(node, Mapping) or part not in node:
            return None
        node = node[part]
    return node


def leaves(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each value that is no object, with the full name of its key."""
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def prefixes(key: str) -> Iterator[str]:
    """Yield the sections that a key is in, the largest first, and the key."""
    parts = key.split(".")
    for end in range(1, len(parts) + 1):
        yield ".".join(parts[:end])


def precision_named(dtype: str | None) -> Precision | None:
    """Return the precision of a type by any of DeepSpeed's names for it."""
    names: dict[str, Precision] = {"fp32": "fp32", "fp16": "fp16", "bf16": "bf16"}
    return None if dtype is None else names[DTYPES[dtype]]

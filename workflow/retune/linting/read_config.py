"""A DeepSpeed config as DeepSpeed reads it: with its defaults and old spellings."""

from collections.abc import Mapping
from typing import Any

from retune.linting.finding import Training
from retune.linting.known_keys import at
from retune.linting.removed_keys import RENAMED
from retune.linting.transformers_auto import BY_DEFAULT, FILLED
from retune.linting.value import Section, Value

MISSING = object()
ZERO = "zero_optimization"


class ReadConfig:
    """Values by their full names with dots; a wrong one is replaced by the default.

    Rules between keys ask this object, and need not know what other rules report.
    """

    def __init__(self, config: Mapping[str, Any], training: Training) -> None:
        """Read a config.

        Args:
            config: What the JSON file holds.
            training: What the config does not say of the training.
        """
        self.written = config
        self.training = training

    def given(self, key: str) -> bool:
        """Return whether a key is there, whatever its value."""
        return self.as_written(key) is not MISSING

    def as_written(self, key: str) -> Any:
        """Return what the file has for a key, or MISSING."""
        node: Any = self.written
        for part in key.split("."):
            if not isinstance(node, Mapping) or part not in node:
                return MISSING
            node = node[part]
        return node

    def is_filled_in(self, key: str) -> bool:
        """Return whether Transformers puts its own value in the place of a key's."""
        is_auto = self.as_written(key) == "auto"
        return is_auto and self.training.transformers and key in FILLED

    def section(self, key: str) -> Mapping[str, Any]:
        """Return an object in the config, which is empty if there is none."""
        found = self.as_written(key)
        return found if isinstance(found, Mapping) else {}

    def value(self, key: str) -> Any:
        """Return the value of a key as DeepSpeed sees it, or its default."""
        known = at(key)
        assert isinstance(known, Value), key
        found = self.under_any_name(key)
        if self.is_filled_in(key):
            return BY_DEFAULT.get(key, known.default)
        if found is MISSING or found == "auto" or not known.accepts(found):
            return known.default
        return known.converted(found)

    def under_any_name(self, key: str) -> Any:
        """Return what the file has for a key, or for its second or its old name."""
        parent, _, name = key.rpartition(".")
        section = at(parent) if parent else None
        others = section.other_names if isinstance(section, Section) else {}
        second = [
            f"{parent}.{other}" for other, first in others.items() if first == name
        ]
        old = [other for other, new in RENAMED.items() if new == key]
        found = (self.as_written(one) for one in (key, *second, *old))
        return next((value for value in found if value is not MISSING), MISSING)

    @property
    def stage(self) -> int:
        """The ZeRO stage."""
        written = self.as_written(ZERO)
        if isinstance(written, bool):
            return int(written)
        return int(self.value(f"{ZERO}.stage"))

    @property
    def bf16(self) -> str:
        """The section that DeepSpeed reads for bf16, which has two names."""
        # Accelerate adds bf16 if it is missing.
        if self.training.transformers or self.written.get("bf16") is not None:
            return "bf16"
        return "bfloat16"

    def enables(self, section: str) -> bool | None:
        """Return whether a section is enabled, or None if only the Trainer knows.

        Args:
            section: "fp16", "bf16" or "bfloat16".
        """
        key = f"{section}.enabled"
        is_missing = self.training.transformers and not self.given(section)
        if is_missing or self.is_filled_in(key):
            given = self.training.precision
            return None if given is None else given == section
        return bool(self.value(key))

    @property
    def precision(self) -> str | None:
        """The floating point type that is computed in, or None if it is not known."""
        bf16, fp16 = self.enables(self.bf16), self.enables("fp16")
        if bf16 or fp16:
            return "bf16" if bf16 else "fp16"
        return None if bf16 is None or fp16 is None else "fp32"

    def offloads(self, what: str) -> str:
        """Return the device to which the optimizer or the parameters are offloaded.

        Args:
            what: "optimizer" or "param".
        """
        old = {"optimizer": "cpu_offload", "param": "cpu_offload_param"}[what]
        if self.value(f"{ZERO}.{old}"):
            return "cpu"
        return str(self.value(f"{ZERO}.offload_{what}.device"))

    @property
    def optimizer_type(self) -> str | None:
        """The optimizer of the config, or None."""
        kind = self.as_written("optimizer.type")
        return kind if isinstance(kind, str) else None

"""Objects of JSON as Python's parser makes them, with keys that occur twice noticed."""


class RepeatedKeys(dict[str, object]):
    """A JSON object in which a key occurs more than once; the last value counts.

    Attributes:
        names: All keys, as often as they occur.
    """

    def __init__(self, pairs: list[tuple[str, object]]) -> None:
        """Keep the keys beside the values."""
        super().__init__(pairs)
        self.names = [name for name, _ in pairs]

    @property
    def repeated(self) -> str:
        """The first key that occurs again."""
        return next(name for name in self.names if self.names.count(name) > 1)


def object_of(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return the object that a parser has read, for its `object_pairs_hook`."""
    values = dict(pairs)
    return values if len(values) == len(pairs) else RepeatedKeys(pairs)


def names_in(record: dict[str, object]) -> list[str]:
    """Return the keys of an object, as often as they occur."""
    return record.names if isinstance(record, RepeatedKeys) else list(record)

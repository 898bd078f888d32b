"""Numbers of things, for people."""


def counted(number: int, noun: str) -> str:
    """Return such as `1 field` or `1,733 fields`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")

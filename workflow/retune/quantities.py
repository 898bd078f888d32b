"""Numbers, and numbers of things, as people read them."""


def number(value: float | None) -> str:
    """Return a number with fewer decimals the larger it is; a dash for None."""
    if value is None:
        return "-"
    if abs(value) >= 1e9:
        return f"{value:.2e}"
    decimals = 3 if abs(value) < 100 else 1 if abs(value) < 10_000 else 0
    return f"{value:,.{decimals}f}"


def distinct_numbers(first: float, second: float) -> tuple[str, str]:
    """Return two different numbers with two decimals, or as many as show it."""
    decimals = 2
    while f"{first:.{decimals}f}" == f"{second:.{decimals}f}":
        decimals += 1
    return f"{first:.{decimals}f}", f"{second:.{decimals}f}"


def change_line(before: float, after: float, low: float, high: float) -> str:
    """Return a change with its interval: `3.38 -> 2.30 (-1.08, 95 % -1.11 to -1.05)`.

    Args:
        before: Value before the change.
        after: Value after it.
        low: Lower end of the 95 % interval of `after - before`.
        high: Upper end of that interval.
    """
    if before == after:
        return f"{before:.2f}, unchanged"
    first, second = distinct_numbers(before, after)
    decimals = len(second.partition(".")[2])
    change, low_end, high_end = (
        f"{value:+.{decimals}f}" for value in (after - before, low, high)
    )
    return f"{first} -> {second} ({change}, 95 % {low_end} to {high_end})"


def percent(share: float) -> str:
    """Return a share in percent: `12.5 %`, or `< 0.1 %` for a very small one."""
    if 0 < share < 0.0005:
        return "< 0.1 %"
    return f"{100 * share:.1f} %"


def relative_change(before: float | None, after: float | None) -> str:
    """Return a change in percent: `-12.5 %`; a dash if a value is not known."""
    if not before or after is None:
        return "-"
    return f"{100 * (after / before - 1):+,.1f} %"


def counted(count: int, noun: str) -> str:
    """Return a number of things: `1 step` or `1,733 steps`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def duration(seconds: float) -> str:
    """Return a time in words: `45 s`, `3 min 50 s` or `12 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60} min"


def parameters(count: int) -> str:
    """Return the size of a model: `2.6 M parameters`; exact if it is very small."""
    if count < 100_000:
        return f"{count:,} parameters"
    return f"{count / 1e6:,.1f} M parameters"


def size(num_bytes: int) -> str:
    """Return a number of bytes in words: `3.1 kB`, `0.61 MB`, `13.5 GB`."""
    if num_bytes < 100_000:
        return f"{num_bytes / 1e3:.1f} kB"
    if num_bytes < 1e9:
        return f"{num_bytes / 1e6:.{1 if num_bytes >= 1e6 else 2}f} MB"
    return f"{num_bytes / 1e9:,.1f} GB"

"""The findings as text for a terminal."""

from collections.abc import Iterator, Sequence

from retune.linting.finding import Finding

# A key longer than this takes a line of its own.
LONGEST = 44


def findings_text(findings: Sequence[Finding]) -> str:
    """Return errors and warnings apart, with two lines each: what happens, the mend."""
    width = min(max(len(found.key) for found in findings), LONGEST)
    groups = []
    for severity in ("error", "warning"):
        group = [found for found in findings if found.severity == severity]
        if group:
            many = "" if len(group) == 1 else "s"
            lines = [f"{len(group)} {severity}{many}"]
            lines += [line for found in group for line in lines_of(found, width)]
            groups.append("\n".join(lines))
    return "\n\n".join(groups)


def lines_of(found: Finding, width: int) -> Iterator[str]:
    """Yield the lines of one finding.

    Args:
        found: The finding.
        width: Width of the column of keys.
    """
    key = found.key
    if len(key) > width:
        yield f"  {key}"
        key = ""
    yield f"  {key:{width}}  {found.happens}"
    yield f"  {'':{width}}  {found.mend}"

"""What `gpu.py` has measured until now: JSON lines, and the same as Markdown."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

# Part of the results whose trainings are predicted.
GRID = "planner"
LINES, PAGE, PROFILES = "results.jsonl", "results.md", "profiles.txt"
# Column -> key of a record, and how it is shown.
COLUMNS = {
    "tokens/s": ("tokens/s", "{:,.0f}"),
    "useful tokens/s": ("useful tokens/s", "{:,.0f}"),
    "MFU %": ("MFU %", "{:.1f}"),
    "s/step": ("s/step", "{:.3g}"),
    "forward": ("forward s/step", "{:.3f}"),
    "backward": ("backward s/step", "{:.3f}"),
    "optimizer": ("optimizer s/step", "{:.3f}"),
    "GB": ("GB/rank", "{:.3g}"),
    "start s": ("start_seconds", "{:.0f}"),
}
# The same for the planner's grid.
GRID_COLUMNS = {
    "predicted GB": ("predicted GB", "{:.3g}"),
    "GB": ("GB", "{:.3g}"),
    "error %": ("error %", "{:+.2f}"),
    "predicted s/step": ("predicted s/step", "{:.3g}"),
    "s/step": ("s/step", "{:.3g}"),
    "predicted tokens/s": ("predicted tokens/s", "{:,.0f}"),
    "tokens/s": ("tokens/s", "{:,.0f}"),
}


def add_record(out: Path, **record: Any) -> None:
    """Add what one measurement came to, and write the page anew.

    Args:
        out: Folder of the results.
        record: At least `part`; see `page`.
    """
    with (out / LINES).open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
    part = out / f".{PAGE}"
    part.write_text(page(read_records(out)), encoding="utf-8")
    part.rename(out / PAGE)


def add_profile(out: Path, name: str, table: str) -> None:
    """Add the table of a profiled training."""
    with (out / PROFILES).open("a", encoding="utf-8") as file:
        file.write(f"{name}\n{table}\n")


def read_records(out: Path) -> list[dict[str, Any]]:
    """Return all records, in the order in which they came."""
    return [json.loads(line) for line in (out / LINES).read_text().splitlines()]


def page(records: Iterable[dict[str, Any]]) -> str:
    """Return the records as a page: the machine, each test that failed, and tables."""
    by_part: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        by_part.setdefault(record["part"], []).append(record)
    lines = ["# Measured"]
    for part, of_part in by_part.items():
        lines += ["", *(line for line in section(part, of_part))]
    return "\n".join(lines) + "\n"


def section(part: str, records: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of one part."""
    # Of scores that are written again and again the last ones count.
    scores = [record for record in records if record.get("is_score")]
    texts = [
        record["text"]
        for record in records
        if "text" in record and (record not in scores or record is scores[-1])
    ]
    trainings = [record for record in records if "training" in record]
    yield f"## {part}"
    yield ""
    yield from texts
    columns = GRID_COLUMNS if part == GRID else COLUMNS
    if trainings:
        if texts:
            yield ""
        yield f"| model | training | {' | '.join(columns)} |"
        yield "| --- | --- |" + " ---: |" * len(columns)
    for record in trainings:
        row = cells(record, columns)
        yield f"| {record['model']} | {record['training']} | {row} |"


def cells(record: dict[str, Any], columns: dict[str, tuple[str, str]]) -> str:
    """Return the figures of a training, or why there are none.

    Args:
        record: The record of the training.
        columns: Column -> key of a record, and how it is shown.
    """
    if "error" in record:
        said = record["error"].replace("|", "\\|")
        return said + " |" * (len(columns) - 1)
    return " | ".join(
        "" if record.get(key) is None else form.format(record[key])
        for key, form in columns.values()
    )

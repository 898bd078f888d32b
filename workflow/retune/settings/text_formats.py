"""The format of a dataset's file, by the ending of its name."""

from pathlib import PurePath

TEXT_FORMATS = (".jsonl", ".json", ".parquet", ".csv", ".tsv", ".txt")
COMPRESSED_FORMATS = (".gz", ".zst", ".bz2", ".xz")
ALLOWED = f"{', '.join(TEXT_FORMATS)} (and {', '.join(COMPRESSED_FORMATS)} after it)"


def format_of(name: str | PurePath) -> str | None:
    """Return the one of TEXT_FORMATS that a file's name ends in, None if none does.

    Case does not matter, and the ending of a compressed file follows that of its text.
    """
    endings = [ending.lower() for ending in PurePath(name).suffixes]
    if endings and endings[-1] in COMPRESSED_FORMATS:
        endings.pop()
    return endings[-1] if endings and endings[-1] in TEXT_FORMATS else None

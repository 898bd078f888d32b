"""The options with which `gpu.py` starts the process that measures trainings."""

import argparse
from pathlib import Path


def part_parser(description: str) -> argparse.ArgumentParser:
    """Return the parser of the options."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--inputs", type=Path)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--only", default="")
    parser.add_argument("--toy", action="store_true")
    # The process is one of those that get ready while others measure.
    parser.add_argument("--stand-by", type=Path, help=argparse.SUPPRESS)
    return parser

"""`python -m retune_dvc STEP`: a step's job when DVC's cache has its result."""

import sys

from retune.stages import read_stages
from retune_dvc.commands import DoubtError
from retune_dvc.run_cache import restore


def main() -> int:
    """Bring a step's outputs back; the exit code is 1 if it has to run after all."""
    step = sys.argv[1]
    try:
        if restore([step], read_stages()):
            print("done: brought back from DVC's cache", file=sys.stderr)
            return 0
        reason = "not in DVC's cache any more"
    except DoubtError as doubt:
        reason = str(doubt)
    print(f"{step} is run, not brought back: {reason}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())

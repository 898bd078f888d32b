"""Makes the models and tokens of the trainings to measure, while tests run.

`gpu.py` starts it: `python benchmarks/gpu_inputs.py FOLDER llama-1b gpt2-124m`. Models
and tokens of a shape appear under its name at once, or NAME.error says why not.
"""

import argparse
import shutil
import time
import traceback
from pathlib import Path

from gpu_cases import SHAPES, Shape, as_toy

# Files of all models together; in memory they are written and read fastest.
MODEL_BYTES = 40 * 10**9
IN_MEMORY = Path("/dev/shm")
POLL_S = 0.1


class InputsError(Exception):
    """Why there are no inputs, in one line."""


def main() -> None:
    """Make the inputs of all shapes that are named."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("shapes", nargs="+", choices=SHAPES)
    parser.add_argument("--toy", action="store_true")
    options = parser.parse_args()
    for name in dict.fromkeys(map(name_of_inputs, options.shapes)):
        shape = as_toy(SHAPES[name]) if options.toy else SHAPES[name]
        try:
            make_inputs(shape, options.folder / name)
        except Exception as error:
            traceback.print_exc()
            said = f"{type(error).__name__}: {error}".splitlines()[0]
            part = options.folder / f"{name}.error.part"
            part.write_text(said)
            part.rename(error_file(options.folder / name))


def name_of_inputs(shape: str) -> str:
    """Return the first shape that has the same model and tokens."""
    return next(
        name
        for name, other in SHAPES.items()
        if (other.setup, other.whole_blocks, other.steps)
        == (SHAPES[shape].setup, SHAPES[shape].whole_blocks, SHAPES[shape].steps)
    )


def make_inputs(shape: Shape, inputs: Path) -> None:
    """Write model and tokens of a shape."""
    from random_inputs import write_model, write_tokens

    part = inputs.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    write_model(part / "base", shape.setup)
    blocks = shape.setup.batch["global_batch_size"] * shape.steps
    write_tokens(part / "tokens", shape.setup, blocks, shape.whole_blocks)
    part.rename(inputs)


def error_file(inputs: Path) -> Path:
    """Return the file that says why there are no inputs."""
    return inputs.with_name(f"{inputs.name}.error")


def wait_for(inputs: Path, seconds: float) -> None:
    """Wait until inputs are there.

    Raises:
        InputsError: If they are not made, or not in that time.
    """
    deadline = time.monotonic() + seconds
    while not inputs.exists():
        if error_file(inputs).exists():
            raise InputsError(error_file(inputs).read_text())
        if time.monotonic() > deadline:
            raise InputsError(f"model and tokens not made within {seconds:.0f} s")
        time.sleep(POLL_S)


def scratch() -> Path | None:
    """Return where models are written; None: where temporary files usually are."""
    if IN_MEMORY.is_dir() and shutil.disk_usage(IN_MEMORY).free > MODEL_BYTES:
        return IN_MEMORY
    return None


if __name__ == "__main__":
    main()

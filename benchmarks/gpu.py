"""Measures on a bare machine with one GPU what is most worth knowing first.

    python benchmarks/gpu.py --out DIR

runs from the working tree; see gpu.md. In order, each part under its own limit:
tests/gpu; the speed of trainings beside Hugging Face's Trainer, each of our levers on
and off; a place for the planner's grid; 64 k tokens of context. DIR has what is
measured until now, as JSON lines and as Markdown, also after a run that was cut off.
`--toy`, or a machine without a GPU: the same at toy size on the CPU, of no worth but to
know that the script works.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gpu_cases import LONG_PART, PARTS, cases_of
from gpu_grid import grid_cases
from gpu_inputs import scratch
from gpu_results import GRID, LINES, PAGE, PROFILES, add_record

ROOT = Path(__file__).resolve().parents[1]
# The tests that tell most come first.
TESTS = [
    f"tests/gpu/test_{name}.py"
    for name in ["losses", "resumed", "speed_on_gpu", "liger_on_gpu", "with_compiler"]
]
TESTS_SECONDS = 180
# Without a GPU only these, on a machine that may be busy: `make test-long` runs all.
TOY_TESTS = "killed or published"
TOY_TESTS_SECONDS = 400
KERNELS_SECONDS = 40
# Kept for the planner's grid, whatever the speeds take.
GRID_SECONDS, TOY_GRID_SECONDS = 240, 90
# Kept for the long context, whatever the speeds take.
LONG_SECONDS = 120
# Limit of waiting for the inputs before operations are timed: they are made on the GPU.
INPUTS_SECONDS = 60
# Kept for ending.
MARGIN_SECONDS = 10
# Log of all trainings: only a few files come back from a lent machine.
SPEED_LOG = "speed.log"
# Prints what the figures depend on; the parts import the same, from then on cached.
DESCRIBE = """
import json, torch
from machine import describe_machine
gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
packages = describe_machine("torch", "deepspeed", "transformers")
print(json.dumps({"gpu": gpu, "text": packages}))
"""


def main() -> None:
    """Run all parts; results are written after each figure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=9.5, help="of all parts")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--kit", type=Path, default=ROOT / "gpu-kit", help="of wheels")
    parser.add_argument("--toy", action="store_true", help="on the CPU, in toy size")
    for name, what in (("tests", "tests/gpu"), ("kernels", "single operations")):
        parser.add_argument(
            f"--{name}",
            action=argparse.BooleanOptionalAction,
            help=f"{what}; without --only they are run unless this says otherwise",
        )
    parser.add_argument(
        "--only",
        default="",
        metavar="REGEX",
        help="the trainings that it finds in 'MODEL: TRAINING', as the results have it",
    )
    options = parser.parse_args()
    deadline = time.monotonic() + 60 * options.minutes - MARGIN_SECONDS
    # Ended from outside, it ends its parts as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    for earlier in (out / LINES, out / PAGE, out / PROFILES, *out.glob("*.log")):
        earlier.unlink(missing_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="gpu-site-") as site,
        tempfile.TemporaryDirectory(prefix="gpu-", dir=scratch()) as inputs,
    ):
        environment = environment_with(options.kit, Path(site), options.toy)
        # To name the trainings takes the settings, and these a package of the kit.
        sys.path[:0] = environment["PYTHONPATH"].split(os.pathsep)
        machine = describe(environment)
        toy = machine["gpu"] is None
        device = machine["gpu"] or "No GPU: toy sizes, whose figures mean nothing"
        add_record(out, part="machine", text=f"{device}. {machine['text']}")

        def left() -> float:
            return deadline - time.monotonic()

        usual = not options.only
        has_tests = usual if options.tests is None else options.tests
        has_kernels = usual if options.kernels is None else options.kernels
        chosen = ["--inputs", inputs, "--only", options.only, *(["--toy"] * toy)]
        with making_inputs(out, inputs, environment, options.only, toy) as making:
            if has_tests:
                most = TOY_TESTS_SECONDS if toy else TESTS_SECONDS
                run_tests(out, environment, min(most, left()), toy)
            if has_kernels:
                if making and not toy:
                    with suppress(subprocess.TimeoutExpired):
                        making.wait(min(INPUTS_SECONDS, left()))
                run_kernels(out, environment, min(KERNELS_SECONDS, left()), toy)
            long = LONG_SECONDS if cases_of(LONG_PART, toy, options.only) else 0
            has_grid = bool(grid_cases(toy, options.only))
            grid = has_grid * (TOY_GRID_SECONDS if toy else GRID_SECONDS)
            if cases_of("speed", toy, options.only):
                run_trainings("speed", out, environment, left() - long - grid, chosen)
            if grid:
                run_trainings(GRID, out, environment, left() - long, chosen)
            if long:
                run_trainings(LONG_PART, out, environment, left(), chosen)
    print((out / PAGE).read_text())


@contextmanager
def making_inputs(
    out: Path, inputs: str, environment: dict[str, str], only: str, toy: bool
) -> Iterator[subprocess.Popen[bytes] | None]:
    """Have the inputs of all trainings made meanwhile, in the order of need.

    It yields the process that makes them; None: there are none to make.
    """
    shapes = [case.shape for part in PARTS for case in cases_of(part, toy, only)]
    if not shapes:
        yield None
        return
    command = [sys.executable, str(ROOT / "benchmarks/gpu_inputs.py"), inputs]
    command += [*dict.fromkeys(shapes), *(["--toy"] * toy)]
    with (out / "inputs.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def environment_with(kit: Path, site: Path, toy: bool) -> dict[str, str]:
    """Return the environment of all parts, in which everything can be imported.

    Args:
        kit: Folder of wheels, which are installed if DeepSpeed is not.
        site: Empty folder to install into.
        toy: Whether to leave a GPU alone.
    """
    paths = [str(ROOT / "workflow"), str(ROOT / "benchmarks")]
    if find_spec("deepspeed") is None:
        start = time.monotonic()
        wheels = sorted(map(str, kit.glob("*.whl")))
        if not wheels:
            sys.exit(f"error: no DeepSpeed here, and no wheels in {kit}: make gpu-kit")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index"]
        command += ["--no-deps", "--no-compile", "--target", str(site), *wheels]
        subprocess.run(command, check=True)
        took = time.monotonic() - start
        print(f"{len(wheels)} wheels installed in {took:.0f} s", file=sys.stderr)
        paths.insert(0, str(site))
    earlier = os.environ.get("PYTHONPATH")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([*paths, *([earlier] if earlier else [])]),
        "PYTHONUNBUFFERED": "1",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        # Whether there is a GPU is asked without using it: what is forked may use it.
        "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
    }
    if toy:
        # In models this small threads would only wait for each other.
        environment |= {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    return environment


def describe(environment: dict[str, str]) -> dict[str, Any]:
    """Return the GPU's name, None if there is none, and the machine in words."""
    said = subprocess.run(
        [sys.executable, "-c", DESCRIBE],
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    return json.loads(said.splitlines()[-1])


def run_tests(out: Path, environment: dict[str, str], limit: float, toy: bool) -> None:
    """Run tests/gpu; what they came to before the limit counts."""
    command = [sys.executable, "-m", "pytest", *TESTS, "--verbose", "--no-header"]
    # Of the plugins that the machine has only the one that pyproject.toml configures.
    environment = environment | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command += ["-p", "no:cacheprovider", "-p", "pytest_timeout"]
    command += ["--continue-on-collection-errors", "-m"]
    command += ["not gpu", "-k", TOY_TESTS] if toy else ["gpu"]
    log = out / "tests.log"
    start = time.monotonic()
    code = run_part(command, environment, limit, log)
    took = time.monotonic() - start
    said = log.read_text()
    outcomes = re.findall(r"^(\S+::.+?) (PASSED|FAILED|ERROR|SKIPPED)", said, re.M)
    # A file that cannot be imported.
    broken = re.findall(r"^_+ ERROR collecting (\S+)", said, re.M)
    outcomes += [(file, "ERROR") for file in broken]
    counts = [
        f"{sum(outcome == kind for _, outcome in outcomes)} {kind.lower()}"
        for kind in ("PASSED", "FAILED", "ERROR", "SKIPPED")
    ]
    # pytest's 1: a test failed.
    how = "" if code in (0, 1) else f", exit code {code}"
    how = ", cut off" if code is None else how
    failed = [name for name, outcome in outcomes if outcome in ("FAILED", "ERROR")]
    text = "".join(f"\n- {name}" for name in failed)
    add_record(
        out,
        part="tests/gpu",
        text=f"{', '.join(counts)} in {took:.0f} s{how}{text}",
        passed=sum(outcome == "PASSED" for _, outcome in outcomes),
        failed=failed,
        is_cut_off=code is None,
    )


def run_kernels(
    out: Path, environment: dict[str, str], limit: float, toy: bool
) -> None:
    """Time single operations, each of which writes its line itself."""
    command = [sys.executable, str(ROOT / "benchmarks/gpu_kernels.py")]
    command += ["--out", str(out), *(["--toy"] * toy)]
    code = run_part(command, environment, limit, out / "kernels.log")
    say_if_failed(out, "kernels", code)


def run_trainings(
    part: str,
    out: Path,
    environment: dict[str, str],
    limit: float,
    chosen: list[str],
) -> None:
    """Measure the trainings of a part, which writes each figure itself.

    Args:
        part: Name of the part.
        out: Folder of the results.
        environment: Environment of the trainings.
        limit: Seconds that it may take.
        chosen: Options that say which trainings, and where their inputs are.
    """
    script = ["gpu_planner.py"] if part == GRID else ["gpu_speed.py", part]
    command = [sys.executable, str(ROOT / "benchmarks" / script[0]), *script[1:]]
    command += ["--out", str(out), "--seconds", f"{limit:.0f}", *chosen]
    # It keeps its time itself, unless something hangs.
    code = run_part(command, environment, limit + MARGIN_SECONDS / 2, out / SPEED_LOG)
    say_if_failed(out, part, code)


def say_if_failed(out: Path, part: str, code: int | None) -> None:
    """Write that a part has failed, unless its exit code is 0; None: it was killed."""
    if code != 0:
        how = "Cut off." if code is None else f"Failed with exit code {code}."
        add_record(out, part=part, text=how)


def run_part(
    command: list[str], environment: dict[str, str], limit: float, log: Path
) -> int | None:
    """Run a command in a process group of its own; nothing of it is left afterwards.

    Args:
        command: The command.
        environment: Its environment.
        limit: Seconds after which it is killed.
        log: File to which what it prints is added.

    Returns:
        Its exit code; None if it was killed.
    """
    print(f"{log.stem}: at most {limit:.0f} s", file=sys.stderr)
    with log.open("a") as file:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            return process.wait(max(limit, 0))
        except subprocess.TimeoutExpired:
            return None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


if __name__ == "__main__":
    main()

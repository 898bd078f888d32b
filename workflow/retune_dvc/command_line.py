"""`python -m retune_dvc COMMAND`: what DVC, a step's job and a user call.

- `restore STEP`: a step's job when DVC's cache has its result;
- `resolve`: DVC's stage of that name;
- `init`: writes dvc.yaml into another folder.
"""

import argparse
import sys
from pathlib import Path

import retune
from retune.errors import RetuneError
from retune.settings.params import read_params
from retune.sources.local_sources import find_local_sources
from retune.step_code import STEPS
from retune_dvc.init import init
from retune_dvc.resolve import read_settings, resolve, write_resolved
from retune_dvc.run_cache import restore
from retune_dvc.stages import STAGES, read_stages
from retune_snakemake.upgrades import explain_break

CHECKOUT = Path(retune.__file__).parents[2]


def main() -> int:
    """Run one command; the exit code is 1 if it could not do it."""
    arguments = parse_arguments()
    if arguments.command == "restore":
        return restore_step(arguments.step)
    try:
        if arguments.command == "resolve":
            params = read_params(read_settings())
            write_resolved(resolve(params, find_local_sources(params)))
        else:
            print(init(CHECKOUT / STAGES, arguments.snakefile, arguments.rules))
    except RetuneError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def parse_arguments() -> argparse.Namespace:
    """Return the command and its options."""
    parser = argparse.ArgumentParser(
        prog="python -m retune_dvc",
        description="What DVC needs to look after a run of retune.",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    text = "Bring a step's outputs back from DVC's cache, as its job."
    command = commands.add_parser("restore", help=text, description=text)
    command.add_argument("step", choices=STEPS, metavar="STEP")
    text = "Write resolved/: what the stages of dvc.yaml go by besides data."
    commands.add_parser("resolve", help=text, description=text)
    text = "Write dvc.yaml for a run in this folder."
    command = commands.add_parser("init", help=text, description=text)
    command.add_argument(
        "--snakefile",
        metavar="PATH",
        help="the Snakefile of the run, where Snakemake does not find it by itself",
    )
    command.add_argument(
        "--rules",
        default="*",
        metavar="NAME",
        help="what a workflow that uses retune as a module calls the rules, such as"
        " 'retune_*'; `*` stands for the step",
    )
    return parser.parse_args()


def restore_step(step: str) -> int:
    """Bring a step's outputs back; the exit code is 1 if it has to run after all."""
    try:
        if restore([step], read_stages()):
            print("done: brought back from DVC's cache", file=sys.stderr)
            return 0
        reason = "not in DVC's cache any more"
    except RetuneError as error:
        reason = str(error)
    except Exception as error:
        reason = explain_break(error, ["dvc"])
    print(f"{step} is run, not brought back: {reason}", file=sys.stderr)
    return 1

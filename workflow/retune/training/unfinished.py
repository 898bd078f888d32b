"""Trainings beside a new one that are not done, and what is said of them.

Values that params.yaml leaves to `configure` may change with the machines, or with a
new version of the planner. Another ZeRO stage is another training: that it begins from
the first step, beside hours of the one before, nobody has asked for. So it is refused.
What somebody has changed in the settings is asked for, and only told.
"""

import logging
import shlex
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import JsonValue

from retune.artifacts.plan import REASONS, Reasons
from retune.checkpoints.checkpoint_files import find_checkpoints, step_of
from retune.errors import RetuneError
from retune.quantities import size
from retune.training.run_key import RunIdentity
from retune.training.run_lock import trained_by

log = logging.getLogger(__name__)

# What `configure` chooses where the settings leave it open: by its name in an identity
# the setting that it is pinned by.
CHOSEN: Mapping[str, str] = {
    "hardware.accelerator": "hardware.accelerator",
    "precision": "configure.precision",
    "zero_optimization.stage": "configure.zero_stage",
    "zero_optimization.offload_optimizer.device": "configure.offload_optimizer",
    "zero_optimization.offload_param.device": "configure.offload_param",
    "torch_compile": "configure.torch_compile",
    "use_liger_kernel": "configure.use_liger_kernel",
    "attn_implementation": "configure.attn_implementation",
    "chunked_cross_entropy": "configure.chunked_cross_entropy",
}
# The value that stands for a key which a DeepSpeed config does not have.
NOT_OFFLOADED = "none"
# What follows from these: by the beginning of its name in an identity.
FOLLOWS: Mapping[str, frozenset[str]] = {
    "bf16.": frozenset({"configure.precision"}),
    "fp16.": frozenset({"configure.precision"}),
    "grad_accum_dtype": frozenset(
        {
            "configure.precision",
            "configure.zero_stage",
            "configure.offload_optimizer",
        }
    ),
    "liger-kernel": frozenset({"configure.use_liger_kernel"}),
}
# Sections of a DeepSpeed config some of whose keys are there with some strategies only,
# and what decides that.
OF_STRATEGY = ("zero_optimization.", "aio.")
DECIDE_KEYS = frozenset(
    {
        "configure.zero_stage",
        "configure.offload_optimizer",
        "configure.offload_param",
    }
)
# Differences that are listed.
MOST_DIFFERENCES = 3


@dataclass(frozen=True)
class Unfinished:
    """A training that has checkpoints and is not done.

    Attributes:
        run: Folder of its checkpoints.
        step: Step of its newest checkpoint.
        saved: When that was written, in seconds since 1970.
        identity: What decides its result; None if that cannot be read.
    """

    run: Path
    step: int
    saved: float
    identity: RunIdentity | None

    @property
    def num_bytes(self) -> int:
        """Bytes of its files, of which some may vanish meanwhile."""
        total = 0
        for file in self.run.rglob("*"):
            with suppress(FileNotFoundError):
                total += file.stat().st_size if file.is_file() else 0
        return total

    @property
    def removal(self) -> str:
        """The command that removes it, with its size."""
        command = f"rm -r {shlex.quote(str(self.run.absolute()))}"
        return f"{command} ({size(self.num_bytes)})"


def find_unfinished(state: Path, identity: RunIdentity) -> list[Unfinished]:
    """Return the unfinished trainings beside a new one, the newest first.

    There are none beside a training that has checkpoints itself: it is not new.

    Args:
        state: Folder of all trainings, which need not exist.
        identity: What decides the result of the new one.
    """
    own = state / identity.key
    if find_checkpoints(own):
        return []
    found = [one for run in state.glob("[!.]*") if run != own for one in found_in(run)]
    return sorted(found, key=lambda one: one.saved, reverse=True)


def found_in(run: Path) -> Iterator[Unfinished]:
    """Yield the training of a folder, if it has checkpoints."""
    if not (folders := find_checkpoints(run)):
        return
    newest = folders[-1]
    # Another process may remove one that it no longer keeps.
    with suppress(FileNotFoundError):
        saved = newest.stat().st_mtime
        yield Unfinished(run, step_of(newest), saved, RunIdentity.read(run))


def read_left_open(plan: Path) -> frozenset[str]:
    """Return the settings that were `auto` when a plan was made.

    No result depends on the reasons for a plan, so they may be missing where it is
    trained, or be those of a version that did not say. Then all may have been.

    Args:
        plan: Folder of the plan.
    """
    try:
        left_open = Reasons.read(plan / REASONS).left_open
    except (FileNotFoundError, RetuneError):
        left_open = None
    return frozenset(CHOSEN.values() if left_open is None else left_open)


def refuse_other_strategy(
    unfinished: list[Unfinished],
    identity: RunIdentity,
    left_open: Collection[str],
    total: int,
) -> None:
    """Raise RetuneError if a training differs in nothing but what `configure` chose.

    Args:
        unfinished: Trainings that are not done.
        identity: What decides the result of the new one.
        left_open: Settings that were `auto`.
        total: Number of its steps, which is that of the other, too.
    """
    for one in unfinished:
        if one.identity is None:
            continue
        before, now = one.identity.values, identity.values
        if not (names := chosen_otherwise(before, now, left_open)):
            continue
        changes = "; ".join(
            f"{CHOSEN[name]} was {value_in(before, name)}, is {value_in(now, name)}"
            for name in names
        )
        when = datetime.fromtimestamp(one.saved).strftime("%Y-%m-%d %H:%M")
        raise RetuneError(
            f"{one.run}: this training is at step {one.step:,} of {total:,} (saved"
            f" {when}), but configure chose otherwise since: {changes}\n"
            f"  to go on with it, write in params.yaml\n"
            + "".join(f"    {line}\n" for line in pins(before, left_open))
            + way_to_begin_anew(one)
        )


def chosen_otherwise(
    before: Mapping[str, JsonValue],
    now: Mapping[str, JsonValue],
    left_open: Collection[str],
) -> list[str]:
    """Return what `configure` chose otherwise; nothing if more than that differs.

    Args:
        before: Values of an earlier identity.
        now: Values of the new one.
        left_open: Settings that were `auto`.

    Returns:
        Names of the values, as the identities have them.
    """
    differing = [
        name for name in {**before, **now} if before.get(name) != now.get(name)
    ]
    names = [name for name in differing if name in CHOSEN]
    settings = {CHOSEN[name] for name in names}
    if not settings.issubset(left_open):
        return []
    others = [name for name in differing if name not in CHOSEN]
    explained = all(settings & causes_of(name, before, now) for name in others)
    return names if explained else []


def causes_of(
    name: str, before: Mapping[str, JsonValue], now: Mapping[str, JsonValue]
) -> frozenset[str]:
    """Return the settings from which a difference may follow.

    Args:
        name: Name of the value in the identities.
        before: Values of an earlier identity.
        now: Values of the new one.
    """
    for beginning, settings in FOLLOWS.items():
        if name.startswith(beginning):
            return settings
    is_in_both = name in before and name in now
    is_of_strategy = name.startswith(OF_STRATEGY) and not is_in_both
    return DECIDE_KEYS if is_of_strategy else frozenset()


def way_to_begin_anew(one: Unfinished) -> str:
    """Return how to give up a training, or that it is going on."""
    if trainer := trained_by(one.run):
        return (
            f"  process {trainer} trains it now, and saves if it is stopped by SIGTERM"
        )
    values = one.identity.values if one.identity else {}
    devices = [values.get(name) for name in CHOSEN if name.endswith(".device")]
    swapped = ", and its folder of the same name under hardware.nvme_path"
    more = swapped if "nvme" in devices else ""
    return f"  to begin anew instead, remove it: {one.removal}{more}"


def value_in(values: Mapping[str, JsonValue], name: str) -> str:
    """Return a value of an identity as params.yaml has it."""
    value = values.get(name, NOT_OFFLOADED)
    return str(value).lower() if isinstance(value, bool) else str(value)


def pins(values: Mapping[str, JsonValue], left_open: Collection[str]) -> Iterator[str]:
    """Yield the lines of params.yaml by which `configure` chooses nothing else.

    All that was left open is among them: some of it follows from the rest, so that
    what is the same now would not be so any more.

    Args:
        values: Values of the identity that is to be kept.
        left_open: Settings that are `auto`.
    """
    lines: dict[str, list[str]] = {}
    for name, setting in CHOSEN.items():
        section, _, key = setting.partition(".")
        if setting in left_open:
            lines.setdefault(section, []).append(f"  {key}: {value_in(values, name)}")
    for section, keys in lines.items():
        yield f"{section}:"
        yield from keys


def tell_unfinished(unfinished: list[Unfinished], identity: RunIdentity) -> None:
    """Log which training is not resumed by a new one, why, and how to remove it.

    Args:
        unfinished: Trainings that are not done, the newest first.
        identity: What decides the result of the new one.
    """
    if not unfinished:
        return
    newest, *others = unfinished
    if newest.identity is None:
        difference = "it does not say what it was"
    elif newest.identity == identity:
        log.warning(
            "a new training: %s, at step %d, is the same in a folder of another name;"
            " to resume it, rename that to %s",
            *(newest.run, newest.step, identity.key),
        )
        return
    else:
        changes = identity.changes_since(newest.identity)
        listed = changes[:MOST_DIFFERENCES]
        more = len(changes) - len(listed)
        difference = "; ".join([*listed, *([f"and {more} more"] if more else [])])
    trainer = trained_by(newest.run)
    stays = f"It stays until you remove it: {newest.removal}"
    log.warning(
        "a new training: that of %s, at step %d, is not resumed: %s. %s%s",
        *(newest.run, newest.step, difference),
        f"Process {trainer} trains it now" if trainer else stays,
        f"; beside it are {len(others)} more" if others else "",
    )

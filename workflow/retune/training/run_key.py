"""What makes two trainings one: its checkpoints are under `state/KEY/`.

Left out is what may change between two tries of one run: what is kept of it, how it is
watched, and on how many ranks and in what portions a batch is computed.
"""

import hashlib
import json
import logging
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from retune.publishing import MANIFEST, read_json, sha256, write_json
from retune.settings import FinetuneSettings
from retune.steps import CODE
from retune.training.checkpoint_files import find_checkpoints, step_of

log = logging.getLogger(__name__)

IDENTITY = "identity.json"

# What of settings, plan and DeepSpeed config is, or is not, in the key of a run.
SETTINGS_NOT_IN_KEY = {
    *("save_steps", "save_total_limit", "save_only_model", "load_best_model_at_end"),
    *("ddp_timeout", "max_skipped_steps"),
}
PLAN_IN_KEY = (
    *("global_batch_size", "sequence_length", "precision", "pipeline_stages"),
    "attn_implementation",
)
# `data_types` depends on the accumulation: see `planning/deepspeed_config.py`.
DEEPSPEED_NOT_IN_KEY = {
    *("train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "data_types"),
}

# How many differences are told.
MOST_TOLD = 3


def identity_of(
    settings: FinetuneSettings, base: Path, tokens: Path, plan: Path
) -> dict[str, Any]:
    """Return all that decides the result of a training, by the names users know."""
    library = Path(__file__).parents[1]
    facts = read_json(plan / "plan.json")
    config = read_json(plan / "deepspeed.json")
    chosen = settings.model_dump(mode="json", exclude=SETTINGS_NOT_IN_KEY)
    packages = ["torch", "deepspeed", "transformers", *["peft"] * bool(settings.lora)]
    return {
        **{f"finetune.{key}": value for key, value in chosen.items()},
        **{key: facts[key] for key in PLAN_IN_KEY},
        "hardware.accelerator": facts["hardware"]["accelerator"],
        **dict(leaves({k: config[k] for k in config if k not in DEEPSPEED_NOT_IN_KEY})),
        "the base model": sha256(base / MANIFEST),
        "the tokens": sha256(tokens / MANIFEST),
        **{
            f"{module}.py": sha256(library / f"{module}.py")
            for module in CODE["finetune"]
        },
        **{package: version(package) for package in packages},
    }


def leaves(config: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each value of nested dictionaries with its path: `bf16.enabled`."""
    for key, value in config.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def key_of(identity: dict[str, Any]) -> str:
    """Return a name for all that decides the result, 16 hex digits."""
    text = json.dumps(identity, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def open_run(state: Path, identity: dict[str, Any]) -> Path:
    """Return the folder of a run, made if missing; say what it does not resume."""
    run = state / key_of(identity)
    run.mkdir(parents=True, exist_ok=True)
    write_json(run / IDENTITY, identity)
    if not find_checkpoints(run):
        tell_of_another(state, run, identity)
    return run


def tell_of_another(state: Path, run: Path, identity: dict[str, Any]) -> None:
    """Say how the newest run with checkpoints beside a new one differs from it."""
    others = [
        (folders[-1].stat().st_mtime, folders[-1])
        for other in state.iterdir()
        if other != run and (folders := find_checkpoints(other))
    ]
    if not others:
        return
    _, newest = max(others)
    log.warning(
        "a new training: that of %s, at step %d, is not resumed: %s",
        *(newest.parent, step_of(newest), difference(newest.parent, identity)),
    )


def difference(other: Path, identity: dict[str, Any]) -> str:
    """Return in what another run's identity differs from this one's."""
    try:
        before = read_json(other / IDENTITY)
    except (FileNotFoundError, ValueError):
        return "it does not say what it was"
    keys = [
        key
        for key in {**identity, **before}
        if identity.get(key, ...) != before.get(key, ...)
    ]
    told = [describe(key, before.get(key), identity.get(key)) for key in keys]
    more = [f"and {len(told) - MOST_TOLD} more"] * (len(told) > MOST_TOLD)
    return "; ".join([*told[:MOST_TOLD], *more])


def describe(key: str, before: Any, now: Any) -> str:
    """Return a difference in words; a hash says nothing to anybody."""
    if key.startswith("the ") or key.endswith(".py"):
        return f"{key} changed"
    return f"{key} was {json.dumps(before)}, is {json.dumps(now)}"

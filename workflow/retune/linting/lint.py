"""All findings in a DeepSpeed config."""

from collections.abc import Mapping
from typing import Any

from retune.linting.batch import batch_sizes
from retune.linting.buckets import bucket_sizes
from retune.linting.finding import Finding, Training
from retune.linting.keys_and_values import single_keys
from retune.linting.offload import offloads
from retune.linting.optimizer import optimizers
from retune.linting.precision import precisions
from retune.linting.read_config import ReadConfig
from retune.linting.scheduler import schedules
from retune.linting.whole_run import whole_runs
from retune.linting.zero_stage import zero_stages

RULES = (
    single_keys,
    batch_sizes,
    precisions,
    zero_stages,
    offloads,
    bucket_sizes,
    optimizers,
    schedules,
    whole_runs,
)


def lint(config: Mapping[str, Any], training: Training) -> list[Finding]:
    """Return what DeepSpeed 0.19 would do otherwise than the author of a config thinks.

    Args:
        config: The config, as `json.load` returns it.
        training: What the config does not say of the training that reads it.

    Returns:
        Errors before warnings, each in the order of the file.
    """
    read = ReadConfig(config, training)
    # Two rules may find the same.
    findings = list(dict.fromkeys(finding for rule in RULES for finding in rule(read)))
    order = {key: at for at, key in enumerate(config)}
    findings.sort(key=lambda found: order.get(found.key.split(".")[0], len(order)))
    findings.sort(key=lambda found: found.severity)
    return findings

"""DeepSpeed configs of the user's, as tests give them to `configure`."""

from pathlib import Path

import pytest

from retune.artifacts.publishing import write_json
from retune.errors import RetuneError
from retune.settings.params import read_params
from retune.sources.local_sources import find_local_sources

DOCUMENTATION = Path(__file__).parents[1] / "docs/deepspeed-config.md"
HIDDEN = 16
GPUS = {"accelerator": "cuda", "ranks_per_node": 8}
TOTAL, MICRO = "train_batch_size", "train_micro_batch_size_per_gpu"
STEPS, ZERO = "gradient_accumulation_steps", "zero_optimization"


def refusal(run_by, config, hardware=None, **settings):
    """Return the lines with which a config is refused."""
    with pytest.raises(RetuneError) as error:
        run_by(config, hardware, **settings)
    return str(error.value).splitlines()


def at_the_start(config, file, **sections):
    """Return the lines with which a run is refused before any step; none if it is not.

    Args:
        config: The config.
        file: Where to write it.
        sections: Sections of params.yaml.
    """
    write_json(file, config)
    params = {"dataset": "builtin", "model": "builtin", **sections}
    configure = {"deepspeed_config": str(file), **params.get("configure", {})}
    try:
        find_local_sources(read_params({**params, "configure": configure}))
    except RetuneError as error:
        return str(error).splitlines()
    return []

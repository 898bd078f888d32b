"""What several unit tests need."""

import pytest

from given_configs import HIDDEN
from retune.artifacts.plan import Plan
from retune.artifacts.publishing import read_json, write_json
from retune.settings import ConfigureSettings, HardwareSettings
from retune.steps.configure import run
from tiny_facts import write_tiny_base
from token_files import make_token_metrics


@pytest.fixture
def run_by(tmp_path, monkeypatch):
    """Return a function that plans a tiny model by a config; it returns the line."""
    monkeypatch.chdir(tmp_path)
    base = tmp_path / "base"
    write_tiny_base(base, n_embd=HIDDEN)
    make_token_metrics(160, 128).write(tmp_path / "tokens.json")

    def run_it(config, hardware=None, **settings):
        if config is not None:
            write_json(tmp_path / "ds.json", config)
            settings["deepspeed_config"] = "ds.json"
        return run(
            ConfigureSettings(**settings),
            HardwareSettings(**hardware or {}),
            *(base, tmp_path / "tokens.json", tmp_path / "plan"),
        )

    return run_it


@pytest.fixture
def written(tmp_path, run_by):
    """Return a function that plans, and returns the plan and the DeepSpeed config."""

    def plan_it(config, hardware=None, **settings):
        run_by(config, hardware, **settings)
        files = tmp_path / "plan/plan.json", tmp_path / "plan/deepspeed.json"
        return Plan.read_verified(*files), read_json(files[1])

    return plan_it

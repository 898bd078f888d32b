"""Training by DeepSpeed configs of the user's: the engine has what they say."""

import json
from typing import Any

import pytest

import engine_values_rank
from lint_good_configs import OF_TRANSFORMERS
from retune.artifacts.plan import Plan
from retune.artifacts.publishing import read_json
from retune.checkpoints.resume import keeps_number_of_ranks
from retune.errors import RetuneError
from tiny_run import TinyRun
from training_ranks import Job, train_all

STEPS = {"max_steps": 3, "learning_rate": 1e-2, "eval_steps": 3, "save_steps": 3}
HIDDEN = 16
# Other values than DeepSpeed's and than those of `configure`.
OTHER = {
    "prescale_gradients": True,
    "gradient_predivide_factor": 2,
    "communication_data_type": "fp32",
    "memory_breakdown": True,
    "zero_force_ds_cpu_optimizer": False,
    "timers": {"throughput": {"enabled": False, "synchronized": False}},
}
OTHER_ZERO = {
    "stage": 1,
    "contiguous_gradients": False,
    "reduce_scatter": False,
    "reduce_bucket_size": 700,
    "use_multi_rank_bucket_allreduce": False,
    "allgather_partitions": False,
    "allgather_bucket_size": 600,
    "overlap_comm": False,
    "ignore_unused_parameters": False,
    "round_robin_gradients": True,
}
OTHER_ZERO_3 = {
    "stage": 3,
    "contiguous_gradients": False,
    "reduce_scatter": False,
    "reduce_bucket_size": 700,
    "overlap_comm": False,
    "sub_group_size": 1000,
    "memory_efficient_linear": False,
    "enable_sanity_checks": True,
    "log_trace_cache_warnings": True,
    "stage3_prefetch_bucket_size": 500,
    "stage3_param_persistence_threshold": 10,
    "stage3_model_persistence_threshold": 1000,
    "stage3_max_live_parameters": 2000,
    "stage3_max_reuse_distance": 2000,
    "stage3_module_granularity_threshold": 100,
    "stage3_use_all_reduce_for_fetch_params": True,
    "stage3_allgather_sequential": True,
    "stage3_gather_16bit_weights_on_model_save": True,
}
# Settings of `configure`, the config, and the schedule that it names.
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "file and overrides": (
        {
            "precision": "bf16",
            "overrides": {
                "zero_optimization": {"reduce_bucket_size": 5000},
                "communication_data_type": "fp32",
            },
        },
        {
            "train_micro_batch_size_per_gpu": 1,
            "gradient_accumulation_steps": 4,
            "gradient_clipping": 0.5,
            "data_types": {"grad_accum_dtype": "bf16"},
            "zero_optimization": {"stage": 2, "reduce_bucket_size": 1e6},
        },
        "cosine",
    ),
    "Trainer, ZeRO-2": (
        {"overrides": {"zero_optimization": {"round_robin_gradients": True}}},
        OF_TRANSFORMERS["ds_config_zero2"],
        "WarmupLR",
    ),
    "Trainer, ZeRO-3": ({}, OF_TRANSFORMERS["ds_config_zero3"], "WarmupDecayLR"),
    "other values, ZeRO-1": ({}, {**OTHER, "zero_optimization": OTHER_ZERO}, "cosine"),
    "other values, ZeRO-3": (
        {},
        {**OTHER, "zero_optimization": OTHER_ZERO_3},
        "cosine",
    ),
}
# What the engine has of each.
ENGINES: dict[str, dict[str, Any]] = {
    "file and overrides": {
        "batch": [8, 1, 4],
        "clipping": 0.5,
        "stage": 2,
        "bucket": 5000,
        "offload": None,
        "accumulation": "torch.bfloat16",
        "communication": "torch.float32",
    },
    "Trainer, ZeRO-2": {
        "batch": [16, 8, 1],
        "clipping": 1.0,
        "stage": 2,
        "bucket": 200_000_000,
        "offload": "cpu",
    },
    "Trainer, ZeRO-3": {
        "batch": [16, 8, 1],
        "clipping": 1.0,
        "stage": 3,
        "bucket": HIDDEN * HIDDEN,
        "offload": "cpu",
        "persistence": 10 * HIDDEN,
    },
}
ENGINES["other values, ZeRO-1"] = {"stage": 1, "bucket": 700}
ENGINES["other values, ZeRO-3"] = {"stage": 3, "bucket": 700, "persistence": 10}
# The same by settings alone.
ALIKE: dict[str, dict[str, Any]] = {
    "other values, ZeRO-1": {"zero_stage": 1},
    "other values, ZeRO-3": {"zero_stage": 3},
    "Trainer, ZeRO-2": {"zero_stage": 2, "offload_optimizer": "cpu"},
    "Trainer, ZeRO-3": {
        "zero_stage": 3,
        "offload_optimizer": "cpu",
        "offload_param": "cpu",
    },
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = TinyRun(tmp_path_factory.mktemp("given"))
    run.make_inputs(n_embd=HIDDEN, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    return run


@pytest.fixture(scope="module")
def trained(run):
    """Return the jobs, trained: by the configs, and by settings that say the same."""
    jobs: dict[tuple[str, str], Job] = {}
    for name, (settings, config, schedule) in CASES.items():
        file = run.folder / f"{name}.json"
        file.write_text(json.dumps(config))
        finetune = {**STEPS, "lr_scheduler_type": schedule}
        plans = {"given": {**settings, "deepspeed_config": str(file)}}
        if name in ALIKE:
            plans["set"] = ALIKE[name]
        for how, values in plans.items():
            plan = run.plan(f"plan-{name}-{how}", 2, **values)
            jobs[name, how] = Job(plan, run.folder / f"state-{name}-{how}", finetune)
    train_all(run.folder, list(jobs.values()), 2, engine_values_rank.__file__)
    return jobs


@pytest.mark.parametrize("name", CASES)
def test_the_engine_has_what_the_config_says(trained, name):
    job = trained[name, "given"]
    values = read_json(job.state / engine_values_rank.FILE)
    expected = ENGINES[name]
    assert {key: values[key] for key in expected} == expected
    plan = Plan.read(job.plan / "plan.json")
    assert values["batch"] == [
        plan.global_batch_size,
        plan.micro_batch_size,
        plan.gradient_accumulation_steps,
    ]
    assert len(job.losses) == STEPS["max_steps"]
    assert "auto" not in (job.plan / "deepspeed.json").read_text()


@pytest.mark.parametrize("name", ALIKE)
def test_a_config_of_the_trainer_trains_as_settings_that_say_the_same(trained, name):
    losses = trained[name, "set"].losses
    assert trained[name, "given"].losses == pytest.approx(losses, abs=2e-5)


def test_gradients_dealt_out_in_turn_keep_a_run_on_its_ranks(trained):
    name = "other values, ZeRO-1"
    for how, kept in (("given", "round_robin_gradients"), ("set", "")):
        plan = Plan.read(trained[name, how].plan / "plan.json")
        assert keeps_number_of_ranks(plan) == kept


def test_another_schedule_than_that_of_the_plan_is_refused(run, trained):
    plan = trained["Trainer, ZeRO-2", "given"].plan
    with pytest.raises(RetuneError, match="WarmupLR, but finetune.lr_scheduler_type"):
        run.finetune(plan, "other-schedule", **STEPS)

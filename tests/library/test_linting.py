"""What the linter says of DeepSpeed is what the installed DeepSpeed does."""

import copy
import inspect
import json
import os
import re
import subprocess
import sys
from enum import Enum
from pathlib import Path
from types import NoneType, SimpleNamespace
from typing import Any, Literal, Union, get_args, get_origin

import pydantic
import pytest
import torch
from annotated_types import Ge, Gt, Le, Lt

from lint_cases import CASES
from lint_random_configs import RANDOM
from retune.linting import optimizer_parameters, scheduler_parameters
from retune.linting.finding import Training
from retune.linting.known_keys import DTYPES, TOP, at
from retune.linting.lint import lint
from retune.linting.removed_keys import REMOVED, RENAMED, WITHOUT_EFFECT
from retune.linting.transformers_auto import FILLED
from retune.linting.value import Section, Value
from training_ranks import free_port

# What the linter says of a config that DeepSpeed does not train with.
STOPS = re.compile("refuses|stops|fails")
RANK = Path(__file__).parents[1] / "lint_rank.py"


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Return what DeepSpeed does with the configs of the linter's unit tests."""
    environment = os.environ | {
        **{"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"},
        **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())},
        "TORCH_EXTENSIONS_DIR": str(tmp_path_factory.mktemp("extensions")),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    command = [sys.executable, str(RANK)]
    ran = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=280
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    return json.loads(ran.stdout.strip().splitlines()[-1])


@pytest.mark.parametrize(
    "case", CASES, ids=[f"{number}-{case.key}" for number, case in enumerate(CASES)]
)
def test_deepspeed_does_what_the_linter_says(done, case):
    outcome = done["cases"][CASES.index(case)]
    assert outcome["does"] == case.does, outcome
    assert {name: outcome[name] for name in case.seen} == case.seen


# What DeepSpeed's refusals say, and the key that each is about.
REASONS = {
    "untested ZeRO Optimizer": "optimizer.type",
    "gradient_predivide_factor": "gradient_predivide_factor",
    "scale gradients": "prescale_gradients",
    "Partial offload": "zero_optimization.offload_optimizer.ratio",
    "Hybrid Optimizer": "zero_optimization.offload_optimizer.ratio",
    "compute_grad_norm": "zero_optimization.compute_grad_norm",
    "aster": "bf16.bf16_master_weights_and_grads",
    "gradient_allreduce_op": "gradient_allreduce_op",
    "torch autocast": "torch_autocast.enabled",
    "grad_accum_dtype": "data_types.grad_accum_dtype",
    "not been implemented on CPU": "zero_optimization.zero_quantized_weights",
    "managed_gradient_accumulation": "managed_gradient_accumulation",
    "PathLike": "zero_optimization.offload_optimizer.nvme_path",
}


def test_it_refuses_the_random_configs_that_the_linter_calls_refused(done):
    for config, outcome in zip(RANDOM, done["random"], strict=True):
        found = lint(config, Training(1, "cpu"))
        errors = [one for one in found if one.severity == "error"]
        if outcome["does"] == "trains":
            said = [one.happens for one in errors if STOPS.search(one.happens)]
            assert said == [], config
        else:
            keys = {one.key for one in errors}
            refused = [key for why, key in REASONS.items() if why in outcome["why"]]
            assert set(refused) & keys, (config, outcome, errors)


def test_deepspeed_takes_good_configs(done):
    assert set(done["good"].values()) == {""}, done["good"]
    assert len(done["good"]) > 20


MODELS = {
    "zero_optimization": "deepspeed.runtime.zero.config.DeepSpeedZeroConfig",
    "fp16": "deepspeed.runtime.precision_config.DeepSpeedFP16Config",
    "bf16": "deepspeed.runtime.precision_config.DeepSpeedBF16Config",
    "compile": "deepspeed.compile.config.CompileConfig",
    "tensor_parallel": "deepspeed.runtime.tensor_parallel.config.TPTrainingConfig",
    "hybrid_engine": "deepspeed.runtime.config.HybridEngineConfig",
    "comms_logger": "deepspeed.comm.config.CommsLoggerConfig",
    "tensorboard": "deepspeed.monitor.config.TensorBoardConfig",
    "csv_monitor": "deepspeed.monitor.config.CSVConfig",
    "wandb": "deepspeed.monitor.config.WandbConfig",
    "comet": "deepspeed.monitor.config.CometConfig",
    "timers.throughput": "deepspeed.utils.config.DeepSpeedThroughputTimerConfig",
    "weight_quantization": "deepspeed.inference.config.WeightQuantConfig",
}


@pytest.mark.parametrize("section", MODELS)
def test_keys_are_those_of_deepspeeds_models(section):
    known = at(section)
    assert isinstance(known, Section)
    compare(section, known, imported(MODELS[section]))


def imported(path: str) -> Any:
    module, name = path.rsplit(".", 1)
    return getattr(__import__(module, fromlist=[name]), name)


def compare(path: str, known: Section, model: type[pydantic.BaseModel]) -> None:
    """Hold a section of the table to a pydantic model, and what is in it as well."""
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    others = {
        name: field.alias for name, field in model.model_fields.items() if field.alias
    }
    assert set(known.keys) == set(fields), path
    assert dict(known.other_names) == others, path
    assert known.checked, path
    for key, field in fields.items():
        entry, place = known.keys[key], f"{path}.{key}"
        kinds = set(get_args(field.annotation)) if is_union(field.annotation) else set()
        kind = next(iter(kinds - {NoneType}), field.annotation)
        if isinstance(entry, Section):
            assert entry.null == (NoneType in kinds) or key == "leaf_module", place
            if isinstance(kind, type) and issubclass(kind, pydantic.BaseModel):
                compare(place, entry, kind)
            continue
        if entry.kind in ("any", "texts", "nothing"):
            continue
        assert entry.null == (NoneType in kinds), place
        assert entry.kind == kind_of(place, kind), place
        default = field.get_default(call_default_factory=True)
        default = default.value if isinstance(default, Enum) else default
        assert entry.default == default, place
        bounds = {type(bound): bound for bound in field.metadata}
        limits = {
            Ge: entry.at_least,
            Gt: entry.above,
            Le: entry.at_most,
            Lt: entry.below,
        }
        for bound, limit in limits.items():
            name = bound.__name__.lower()
            expected = getattr(bounds[bound], name) if bound in bounds else None
            if place not in BOUNDED_OTHERWISE:
                assert limit == expected, (place, name)
        deprecated = (field.json_schema_extra or {}).get("deprecated", False)
        assert deprecated == (place in RENAMED or place in WITHOUT_EFFECT), place


# By an enumeration, or by a validator.
BOUNDED_OTHERWISE = ("zero_optimization.stage", "fp16.loss_scale")


def is_union(annotation: Any) -> bool:
    return get_origin(annotation) is Union


def kind_of(place: str, kind: Any) -> str:
    """Return what the table calls a type."""
    if place == "zero_optimization.stage":
        return "integer"
    if place.endswith("select_strategy") or get_origin(kind) is Literal:
        return "choice"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return "choice"
    if kind is list or get_origin(kind) is list:
        return "list"
    names = {
        bool: "boolean",
        int: "integer",
        float: "number",
        str: "text",
        Path: "text",
    }
    return names[kind]


def test_choices_are_those_of_deepspeed():
    from deepspeed.inference.config import QuantTypeEnum
    from deepspeed.runtime.config import DtypeEnum
    from deepspeed.runtime.zero.offload_config import OffloadDeviceEnum

    for part in ("param", "optimizer"):
        device = at(f"zero_optimization.offload_{part}.device")
        assert device.choices == tuple(member.value for member in OffloadDeviceEnum)
    quantizing = at("weight_quantization.q_type").choices
    assert quantizing == tuple(member.value for member in QuantTypeEnum)
    floating = [dtype for dtype in DtypeEnum if dtype.value.is_floating_point]
    names = [name for dtype in floating for name in dtype._all_values[1:]]
    assert set(DTYPES) == set(names)
    for name, first in DTYPES.items():
        assert DtypeEnum(name) is DtypeEnum(first)


class Recorded(dict):
    """A config that records which keys are asked for, in it and in its objects."""

    def __init__(self, content: dict[str, Any], path: str, asked: set[str]) -> None:
        super().__init__(
            (key, Recorded(value, f"{path}{key}.", asked))
            if isinstance(value, dict)
            else (key, value)
            for key, value in content.items()
        )
        self.path, self.asked = path, asked

    def note(self, key: Any) -> None:
        self.asked.add(f"{self.path}{key}")

    def __contains__(self, key: Any) -> bool:
        self.note(key)
        return super().__contains__(key)

    def __getitem__(self, key: Any) -> Any:
        self.note(key)
        return super().__getitem__(key)

    def get(self, key: Any, default: Any = None) -> Any:
        self.note(key)
        return super().get(key, default)

    def keys(self) -> Any:
        return self

    def __copy__(self) -> "Recorded":
        return self


def test_no_other_keys_are_read():
    from deepspeed.runtime.config import DeepSpeedConfig

    asked: set[str] = set()
    plain = {
        key: {}
        for key, known in TOP.keys.items()
        if isinstance(known, Section) and not known.checked and not known.more
    }
    plain["checkpoint"] = {"parallel_write": {}}
    plain["optimizer"] = {"type": "AdamW", "params": {}}
    plain["scheduler"] = {"type": "WarmupLR", "params": {}}
    plain["torch_autocast"] = {"dtype": "fp32", "lower_precision_safe_modules": []}
    plain |= {"zero_optimization": True, "train_batch_size": 1}
    plain |= {"sequence_parallel_size": 1}
    DeepSpeedConfig(Recorded(plain, "", asked))
    # What DeepSpeed looks for to refuse it, and parts that the linter leaves out.
    asked -= set(REMOVED) | {"optimizer.params.max_grad_norm"}
    known = {
        key: at(key)
        for key in asked
        if not key.startswith(("data_efficiency.data_", "expert_parallel."))
    }
    assert [key for key, entry in known.items() if entry is None] == []
    # These are read by the engine, or only beside others.
    elsewhere = {"bfloat16", "data_parallel_size", "sequence_parallel_size"}
    assert set(TOP.keys) - elsewhere <= asked
    for section in ("activation_checkpointing", "flops_profiler", "autotuning", "aio"):
        entry = at(section)
        assert isinstance(entry, Section)
        read = {key.split(".")[1] for key in asked if key.startswith(f"{section}.")}
        assert read == set(entry.keys)


def test_defaults_are_those_of_deepspeed():
    from deepspeed.runtime.config import DeepSpeedConfig

    read = DeepSpeedConfig({"train_batch_size": 1})
    # Not by DeepSpeedConfig, or of another type there, or filled in.
    elsewhere = {
        *("allgather_size", "data_parallel_size", "sequence_parallel_size"),
        *("datastates_ckpt", "use_data_before_expert_parallelism", "vocabulary_size"),
        *("seq_parallel_communication_data_type", "train_batch_size"),
        *("train_micro_batch_size_per_gpu", "gradient_accumulation_steps"),
    }
    values = {key: one for key, one in TOP.keys.items() if isinstance(one, Value)}
    for key in set(values) - elsewhere:
        assert getattr(read, key) == values[key].default, key
    assert read.seq_parallel_communication_data_type is torch.float32
    sections = {
        "activation_checkpointing": vars(read.activation_checkpointing_config),
        "flops_profiler": vars(read.flops_profiler_config),
        "aio": read.aio_config,
    }
    for name, section in sections.items():
        known = at(name)
        assert isinstance(known, Section)
        defaults = {
            key: one.default
            for key, one in known.keys.items()
            if isinstance(one, Value)
        }
        assert section == defaults, name


def test_removed_keys_are_those_of_deepspeed():
    from deepspeed.runtime import config

    zero = config._REMOVED_ZERO_CONFIG_KEYS
    top = config._REMOVED_TOP_LEVEL_CONFIG_KEYS
    assert set(REMOVED) == {*top, *(f"zero_optimization.{key}" for key in zero)}


def parameters_of(made: Any) -> tuple[set[str], set[str]]:
    """Return the parameters of a class but the first, and those that it needs."""
    found = list(inspect.signature(made).parameters.values())[1:]
    needed = {one.name for one in found if one.default is inspect.Parameter.empty}
    return {one.name for one in found}, needed


def test_optimizers_take_the_parameters_of_the_table():
    from deepspeed.ops.adagrad import DeepSpeedCPUAdagrad
    from deepspeed.ops.adam import DeepSpeedCPUAdam, FusedAdam
    from deepspeed.ops.lamb import FusedLamb
    from deepspeed.ops.lion import DeepSpeedCPULion, FusedLion
    from deepspeed.runtime.config import DEEPSPEED_OPTIMIZERS
    from deepspeed.runtime.zero.utils import ZERO_SUPPORTED_OPTIMIZERS

    table = optimizer_parameters
    # DeepSpeed gives these by itself, and stops if they are there twice.
    own = {"adam_w_mode", "adamw_mode", "fp32_optimizer_states"}
    made = {
        FusedAdam: (table.FUSED_ADAM, own),
        DeepSpeedCPUAdam: (table.CPU_ADAM, own),
        FusedLamb: (table.LAMB, {"max_grad_norm"}),
        FusedLion: (table.FUSED_LION, set()),
        DeepSpeedCPULion: (table.CPU_LION, set()),
        DeepSpeedCPUAdagrad: (table.CPU_ADAGRAD, set()),
    }
    for made_class, (names, left_out) in made.items():
        assert set(names) == parameters_of(made_class)[0] - left_out, made_class
    for name, names in table.TORCH.items():
        assert set(names) == parameters_of(getattr(torch.optim, name))[0], name
    assert set(table.OWN) == set(DEEPSPEED_OPTIMIZERS)
    tested = {one.__name__ for one in ZERO_SUPPORTED_OPTIMIZERS}
    assert tested | {"MuonWithAuxAdam"} == set(table.TESTED_CLASSES)


def test_schedules_take_the_parameters_of_the_table():
    from deepspeed.runtime import lr_schedules

    table = scheduler_parameters
    assert set(table.OWN) == set(lr_schedules.VALID_LR_SCHEDULES)
    known = {**table.OWN, **table.TORCH}
    for name, names in known.items():
        home = lr_schedules if name in table.OWN else torch.optim.lr_scheduler
        taken, needed = parameters_of(getattr(home, name))
        assert set(names) == taken, name
        assert set(table.REQUIRED.get(name, ())) == needed, name
    of_torch = {
        name
        for name, one in vars(torch.optim.lr_scheduler).items()
        if isinstance(one, type)
        and issubclass(one, torch.optim.lr_scheduler.LRScheduler)
        and name not in ("LRScheduler", "_LRScheduler")
    }
    assert of_torch == {*table.TORCH, *table.NOT_IN_JSON}


def test_transformers_fills_in_what_the_table_says(monkeypatch):
    from accelerate.utils import DeepSpeedPlugin
    from transformers.integrations.deepspeed import HfTrainerDeepSpeedConfig

    config: dict[str, Any] = {}
    for path in [*everything(TOP, ""), *FILLED]:
        *sections, key = path.split(".")
        node = config
        for section in sections:
            node = node.setdefault(section, {})
        node[key] = "auto"
    # Else it is no stage 3, of which more is filled in.
    filled = HfTrainerDeepSpeedConfig(copy.deepcopy(config))
    monkeypatch.setattr(filled, "is_zero3", lambda: True)
    arguments = SimpleNamespace(
        world_size=1,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=1,
        max_grad_norm=1.0,
        learning_rate=1e-3,
        adam_beta1=0.9,
        adam_beta2=0.99,
        adam_epsilon=1e-8,
        weight_decay=0.0,
        save_on_each_node=False,
        fp16=False,
        fp16_full_eval=False,
        bf16=True,
        bf16_full_eval=False,
        get_warmup_steps=lambda steps: 1,
    )
    filled.trainer_config_process(arguments)
    model = SimpleNamespace(config=SimpleNamespace(hidden_size=8))
    filled.trainer_config_finalize(arguments, model, 10)
    DeepSpeedPlugin(hf_ds_config=filled)
    replaced = {
        path
        for path in everything_in(config, "")
        if value_at(filled.config, path) != "auto"
    }
    # Accelerate sets this one by itself, whatever it was.
    assert replaced - {"steps_per_print"} == set(FILLED)


def everything(section: Section, prefix: str) -> list[str]:
    """Return the full names of all keys of a section that are no sections."""
    names = []
    for key, known in section.keys.items():
        if isinstance(known, Value):
            names.append(f"{prefix}{key}")
        else:
            names += everything(known, f"{prefix}{key}.")
    return names


def everything_in(config: dict[str, Any], prefix: str) -> list[str]:
    names = []
    for key, value in config.items():
        if isinstance(value, dict):
            names += everything_in(value, f"{prefix}{key}.")
        else:
            names.append(f"{prefix}{key}")
    return names


def value_at(config: dict[str, Any], path: str) -> Any:
    for key in path.split("."):
        config = config[key]
    return config

"""params.yaml is checked as a whole, and every mistake is named."""

import pytest
import yaml

from retune.errors import RetuneError
from retune.settings import DATASET_PRESETS, MODEL_PRESETS, Params
from retune.settings.params import read_params
from retune_workflow.manual import ROOT

MINIMAL = {"dataset": "builtin", "model": "builtin"}


def problems_of(values):
    with pytest.raises(RetuneError) as error:
        read_params(values)
    return str(error.value).splitlines()[1:]


def test_the_default_params_are_valid_and_name_every_section():
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    read_params(values)
    assert set(values) == set(Params.model_fields)


def test_all_problems_are_named_at_once():
    lines = problems_of(
        {
            "dataset": "builtin",
            "model": "builtin",
            "finetune": {"learning_rat": 1e-4, "epochs": -1},
            "tokenize": {"sequence_length": "many"},
            "trian": {},
        }
    )
    assert [line.split(":")[0].strip() for line in lines] == [
        "tokenize.sequence_length",
        "finetune.learning_rat",
        "finetune.epochs",
        "trian",
    ]
    assert "'many' should be a valid integer or 'auto'" in lines[0]
    assert "did you mean learning_rate?" in lines[1]
    assert "-1 should be greater than 0" in lines[2]


def test_problems_across_sections_are_named_together():
    lines = problems_of(
        {
            **MINIMAL,
            "configure": {"global_batch_size": 15, "precision": "fp16"},
        }
    )
    assert len(lines) == 2
    assert "configure.global_batch_size: 15" in lines[0]
    assert "16 would be" in lines[0]
    assert "configure.precision: fp16" in lines[1]


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("dataset", "wikitxt", "no known short name"),
        ("dataset", {"source": "hub", "name": "a/b"}, "datasets/a/b HEAD"),
        ("dataset", {"source": "local"}, "needs files"),
        ("dataset", {"source": "builtin", "revision": "0" * 40}, "source: hub"),
        ("dataset", {"source": "hub", "name": "../etc", "revision": "0" * 40}, "name"),
        ("model", {"source": "hub", "name": "a/b", "revision": "main"}, "revision"),
        ("model", {"source": "local"}, "folder"),
        ("model", {"source": "builtin", "n_embd": 65}, "multiple of n_head"),
        (
            "model",
            {"source": "hub", "name": "a", "revision": "0" * 40, "n_layer": 2},
            "n_layer: only for source: builtin",
        ),
        ("prepare", {"validation_share": 0.6, "test_share": 0.5}, "nothing to train"),
        ("configure", {"zero_stage": 0, "precision": "bf16"}, "one Adam step too many"),
        ("finetune", {"epochs": float("inf")}, "finite number"),
        ("finetune", [], "mapping of keys"),
        ("dataset", None, "is missing"),
        ("model", None, "is missing"),
        ("dataset", {"source": "builtin", "document_start": "("}, "no regular"),
        ("dataset", {"source": "builtin", "format": "completion"}, "which holds texts"),
        ("dataset", {"source": "builtin", "columns": {"messages": "m"}}, "columns"),
        ("dataset", {"source": "builtin", "fold_system": True}, "which holds texts"),
        ("model", {"source": "hub", "name": "a/b", "revision": "v1"}, "40 hex digits"),
        ("configure", {"offload_param": "cpu", "zero_stage": 2}, "zero_stage: 3"),
        ("configure", {"offload_optimizer": "nvme"}, "needs hardware.nvme_path"),
        ("configure", {"pipeline_stages": 2, "zero_stage": 2}, "needs zero_stage: 1"),
        ("configure", {"pipeline_stages": 2, "offload_param": "cpu"}, "none, not cpu"),
        ("configure", {"pipeline_stages": 3}, "2 ranks are not a multiple"),
        ("configure", {"use_liger_kernel": True}, "Triton's, for GPUs; write auto"),
        (
            "configure",
            {"bf16_optimizer_states": True, "precision": "fp32"},
            "bf16_optimizer_states: true needs precision: bf16, not fp32",
        ),
        (
            "configure",
            {"bf16_optimizer_states": True, "offload_optimizer": "cpu"},
            "bf16_optimizer_states: true goes with offload_optimizer: none, not cpu",
        ),
        (
            "configure",
            {"optim": "adamw_8bit", "bf16_optimizer_states": True},
            "optim: adamw_8bit goes with bf16_optimizer_states: false, not true",
        ),
        (
            "configure",
            {"optim": "adamw_8bit", "offload_optimizer": "cpu"},
            "optim: adamw_8bit goes with offload_optimizer: none, not cpu",
        ),
        (
            "configure",
            {
                "activation_checkpointing": False,
                "activation_checkpointing_interval": 2,
            },
            "needs activation_checkpointing: true or selective, not false",
        ),
        (
            "configure",
            {"torch_compile": True, "activation_checkpointing": "selective"},
            "torch_compile: true does not go with activation_checkpointing: selective",
        ),
        ("configure", {"precision": "fp16"}, "no fp16 there"),
        ("configure", {"attn_implementation": "flex_attention"}, "no kernels"),
        ("evaluate", {"context_length": 64, "stride": 65}, "go unscored"),
        ("hardware", {"nodes": 2, "ranks_per_node": "auto"}, "must be given"),
    ],
)
def test_impossible_combinations_say_what_would_be_right(section, values, message):
    lines = problems_of({**MINIMAL, section: values})
    assert len(lines) == 1
    assert section in lines[0]
    assert message in lines[0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"torch_compile": True}, "write torch_compile: auto"),
        (
            {"activation_checkpointing": "selective"},
            "write activation_checkpointing: true or false, or use_liger_kernel: auto",
        ),
    ],
)
def test_what_does_not_go_with_liger_kernels_says_what_would(values, message):
    strategy = {"use_liger_kernel": True, **values}
    gpus = {"accelerator": "cuda"}
    (line,) = problems_of({**MINIMAL, "hardware": gpus, "configure": strategy})
    assert "use_liger_kernel: true" in line
    assert line.endswith(message)


def test_a_section_that_says_nothing_has_its_defaults():
    names = set(Params.model_fields) - MINIMAL.keys()
    assert read_params({**MINIMAL, **dict.fromkeys(names)}) == read_params(MINIMAL)
    (problem,) = problems_of({**MINIMAL, "trian": None})
    assert "trian: unknown key" in problem


@pytest.mark.parametrize(
    ("section", "short", "long"),
    [
        ("sample", {"prompts": "Red"}, {"prompts": ["Red"]}),
        ("sample", {"prompts": "auto"}, {}),
        (
            "finetune",
            {"lora": {"target_modules": "q_proj"}},
            {"lora": {"target_modules": ["q_proj"]}},
        ),
        ("finetune", {"lora": {"target_modules": "all-linear"}}, {"lora": {}}),
        (
            "dataset",
            ["a.txt", "b/"],
            {"source": "local", "files": {"train": ["a.txt", "b/"]}},
        ),
        ("dataset", {"files": "x/"}, {"source": "local", "files": {"train": ["x/"]}}),
    ],
)
def test_one_text_may_stand_for_a_list_and_a_list_for_a_local_dataset(
    section, short, long
):
    read = read_params({**MINIMAL, section: short})
    assert read == read_params({**MINIMAL, section: long})
    assert Params.model_validate_json(read.model_dump_json()) == read


@pytest.mark.parametrize(
    ("section", "values", "told"),
    [
        (
            "sample",
            {"prompts": 5},
            "sample.prompts: 5 should be a text, a list of these, or 'auto'",
        ),
        (
            "sample",
            {"prompts": ["a", 5]},
            "sample.prompts: ['a', 5] should be a text, a list of these, or 'auto'",
        ),
        (
            "finetune",
            {"lora": {"target_modules": 5}},
            "finetune.lora.target_modules: 5 should be the end of a layer's name, a"
            " list of these, or 'all-linear'",
        ),
        (
            "dataset",
            {"files": {"trian": "a.txt"}},
            "dataset.files.trian: unknown key; did you mean train?",
        ),
        (
            "dataset",
            {"files": {"other": "a.txt"}},
            "dataset.files.other: unknown key; there are: train, validation, test",
        ),
        (
            "dataset",
            {"files": ["a.txt", 5]},
            "dataset.files.train.1: 5 should be a valid string",
        ),
        ("dataset", [], "dataset: source: local needs files, with at least train: [F"),
    ],
)
def test_a_wrong_list_is_one_problem_with_the_key_as_it_is_written(
    section, values, told
):
    (problem,) = problems_of({**MINIMAL, section: values})
    assert problem.strip().startswith(told)


def test_several_nodes_are_possible():
    params = read_params({**MINIMAL, "hardware": {"nodes": 2, "ranks_per_node": 4}})
    assert (params.hardware.nodes, params.hardware.ranks_per_node) == (2, 4)


def test_a_wrong_key_does_not_hide_what_is_impossible_across_sections():
    lines = problems_of(
        {
            **MINIMAL,
            "configure": {"global_batch_size": 15},
            "finetune": {"learning_rat": 1e-4},
        }
    )
    # The example of the README, to the letter.
    readme = (ROOT / "README.md").read_text()
    assert len(lines) == 2
    for line in lines:
        assert line.strip() in readme


@pytest.mark.parametrize(
    ("wrong", "values"),
    [
        ("dataset", {"source": "local"}),
        ("model", None),
        ("prepare", {"min_character": 1}),
        ("tokenize", {"sequence_length": "many"}),
        ("finetune", {"epochs": 0}),
        ("consolidate", []),
        ("evaluate", {"stride": 0}),
        ("unknown", {}),
    ],
)
def test_a_wrong_section_hides_no_problem_between_two_others(wrong, values):
    sections = {
        "hardware": {"ranks_per_node": 3},
        "configure": {
            "global_batch_size": 4,
            "precision": "fp16",
            "offload_param": "nvme",
        },
    }
    lines = "\n".join(problems_of({**MINIMAL, **sections, wrong: values}))
    assert wrong in lines
    for key in ("global_batch_size: 4 is", "precision: fp16, but", "offload_param: nv"):
        assert lines.count(f"configure.{key}") == 1


@pytest.mark.parametrize("wrong", ["hardware", "tokenize"])
def test_a_wrong_section_does_not_hide_that_adapters_go_with_one_stage(wrong):
    sections = {
        "configure": {"pipeline_stages": 2},
        "finetune": {"lora": {}},
        wrong: {"a": 1},
    }
    lines = problems_of({**MINIMAL, **sections})
    assert len(lines) == 2
    assert any("finetune.lora goes with" in line for line in lines)


def test_weights_in_4_bits_are_neither_sharded_nor_offloaded():
    lora = {"finetune": {"lora": {"load_in_4bit": True}}}
    for section in ({"zero_stage": "auto"}, {"zero_stage": 2}):
        assert read_params({**MINIMAL, **lora, "configure": section})
    section = {"zero_stage": 3, "offload_optimizer": "nvme", "offload_param": "cpu"}
    disk = {"hardware": {"nvme_path": "/disk"}}
    lines = problems_of({**MINIMAL, **lora, **disk, "configure": section})
    setting = "  finetune.lora.load_in_4bit: true goes with configure."
    assert lines == [
        f"{setting}zero_stage: 0, 1, 2 or auto, not 3",
        f"{setting}offload_param: none, not cpu, which needs zero_stage: 3",
        f"{setting}offload_optimizer: none or cpu, not nvme, which needs zero_stage: 3",
    ]


def test_a_rule_that_reads_a_wrong_key_waits_until_it_is_right_and_no_other_does():
    sections = {
        "hardware": {"ranks_per_node": 3},
        "configure": {"global_batch_siz": 16, "precision": "fp16"},
    }
    misspelt, fp16 = problems_of({**MINIMAL, **sections})
    assert "did you mean global_batch_size?" in misspelt
    assert "configure.precision: fp16, but" in fp16


def test_a_disk_for_offloading_needs_two_things_and_both_are_told():
    section = {"offload_optimizer": "nvme", "zero_stage": 2}
    within, across = problems_of({**MINIMAL, "configure": section})
    assert "offload_optimizer: nvme needs zero_stage: 3, not 2" in within
    assert "offload_optimizer: nvme needs hardware.nvme_path" in across


def test_keys_that_do_not_go_together_hide_no_rule_between_sections():
    sections = {
        "hardware": {"ranks_per_node": 3},
        "configure": {"zero_stage": 0, "precision": "bf16", "global_batch_size": "16"},
    }
    within, across = problems_of({**MINIMAL, **sections})
    assert "zero_stage: 0 with precision: bf16" in within
    assert "configure.global_batch_size: 16 is not a multiple" in across


def test_a_wrong_key_of_a_section_hides_no_rule_that_does_not_read_it():
    sections = {
        "hardware": [],
        "configure": {"pipeline_stages": 2, "precision": "fp16"},
        "finetune": {"lora": {"r": 8}, "learning_rate": "fast"},
    }
    lines = "\n".join(problems_of({**MINIMAL, **sections}))
    assert "hardware: " in lines
    assert "finetune.learning_rate: " in lines
    assert "finetune.lora goes with configure.pipeline_stages: 1, not 2" in lines
    assert "configure.precision: fp16, but" in lines


def test_a_number_that_yaml_reads_as_text_is_a_number():
    params = read_params({**MINIMAL, "finetune": {"learning_rate": "1e-4"}})
    assert params.finetune.learning_rate == 1e-4


def test_two_spellings_of_a_number_give_the_same_section():
    short = read_params({**MINIMAL, "finetune": {"learning_rate": "1e-4", "epochs": 1}})
    long = read_params(
        {**MINIMAL, "finetune": {"epochs": 1.0, "learning_rate": 0.0001}}
    )
    assert short.finetune.model_dump_json() == long.finetune.model_dump_json()


@pytest.mark.parametrize("name", DATASET_PRESETS)
def test_a_short_dataset_name_stands_for_a_pinned_section(name):
    dataset = read_params({**MINIMAL, "dataset": name}).dataset
    assert dataset.source == "builtin" or dataset.revision


@pytest.mark.parametrize("name", MODEL_PRESETS)
def test_a_section_survives_its_way_through_json(name):
    model = read_params({**MINIMAL, "model": name}).model
    assert type(model).model_validate_json(model.model_dump_json()) == model


def test_a_file_name_stands_for_a_local_dataset():
    dataset = read_params({**MINIMAL, "dataset": "texts.jsonl"}).dataset
    assert dataset.files == {"train": ["texts.jsonl"]}


def test_settings_cannot_be_changed():
    params = read_params(MINIMAL)
    with pytest.raises(ValueError, match="frozen"):
        params.finetune.epochs = 2


def test_adapters_go_with_one_stage():
    sections = {"configure": {"pipeline_stages": 2}, "finetune": {"lora": {"r": 8}}}
    lines = problems_of({**MINIMAL, **sections})
    assert any(
        "finetune.lora goes with configure.pipeline_stages: 1" in x for x in lines
    )


def test_a_key_that_is_no_word_is_an_unknown_key():
    (problem,) = problems_of({**MINIMAL, "finetune": {2: 1}})
    assert problem.startswith("  finetune.2: unknown key")
    (problem,) = problems_of({**MINIMAL, 1: 2})
    assert problem.startswith("  1: unknown key; there are: dataset, model")


def test_operational_settings_are_not_among_those_that_decide_results():
    for name, section in Params.model_validate(MINIMAL):
        decisive, operational = section.decisive(), section.operational()
        assert not decisive.keys() & operational.keys()
        assert {**decisive, **operational} == section.model_dump(mode="json"), name

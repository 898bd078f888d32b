"""`python -m retune plan`: answers from shapes alone, in an empty folder."""

import json

import pytest
import yaml

from retune.cli.main import main

GPT2_XL = {"model_type": "gpt2", "n_embd": 1600, "n_layer": 48, "n_head": 25}
LLAMA_8B = {
    **{"model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336},
    **{"num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8},
    **{"vocab_size": 128_256, "max_position_embeddings": 131_072},
}
LLAMA_70B = LLAMA_8B | {
    **{"hidden_size": 8192, "intermediate_size": 28_672, "num_hidden_layers": 80},
    "num_attention_heads": 64,
}
ADAPTERS = {"lora": {"r": 16, "lora_alpha": 32}}
IN_4_BITS = {"lora": ADAPTERS["lora"] | {"load_in_4bit": True}}


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(config, gpus=1, memory=80, nodes=1, length=4096, **sections):
    """Write config.json, and params.yaml of a training on GPUs."""
    with open("config.json", "w") as file:
        json.dump(config, file)
    hardware = {
        **{"accelerator": "cuda", "nodes": nodes, "ranks_per_node": gpus},
        **{"gpu_memory_gb": memory, "gpu_name": "H100"},
    }
    params = {
        "dataset": "builtin",
        "model": {"source": "local", "folder": "."},
        "hardware": hardware,
        "tokenize": {"sequence_length": length},
        "configure": {"global_batch_size": 128, **sections.pop("configure", {})},
        **sections,
    }
    with open("params.yaml", "w") as file:
        yaml.safe_dump(params, file)


def plan(*options):
    return main(["plan", "params.yaml", *options])


def values_of(text):
    """Return the chosen value of each setting in a page."""
    cells = [line.split("|") for line in text.splitlines() if line.count("|") == 4]
    return {cell[1].strip(): cell[2].strip(" `") for cell in cells}


@pytest.mark.parametrize(
    ("config", "machines", "wanted"),
    [
        (GPT2_XL, {"memory": 24, "length": 1024}, {"offload_optimizer": '"cpu"'}),
        (LLAMA_8B, {"gpus": 8}, {"offload_optimizer": '"none"'}),
        (LLAMA_8B, {"memory": 24, "finetune": ADAPTERS}, {"zero_stage": "2"}),
        (LLAMA_8B, {"memory": 24, "finetune": IN_4_BITS}, {"zero_stage": "2"}),
        (LLAMA_70B, {"gpus": 8, "nodes": 8}, {"zero_stage": "3"}),
    ],
    ids=["GPT-2 XL", "8B", "8B LoRA", "8B QLoRA", "70B"],
)
def test_a_plan_of_each_example(capsys, config, machines, wanted):
    write(config, **machines)
    assert plan() == 0
    text = capsys.readouterr().out
    values = values_of(text)
    assert wanted.items() <= values.items(), values
    peak = float(text.partition("at most ")[2].split()[0])
    assert 0 < peak <= 0.92 * machines.get("memory", 80)
    assert "chosen" in text
    assert " s/step" in text


def test_gpt2_of_one_and_a_half_billion_on_two_small_gpus(capsys):
    """Plain data parallelism does not fit there, and ZeRO-3 with offloading does."""
    write(GPT2_XL, gpus=2, memory=16, length=1024)
    assert plan() == 0
    considered = capsys.readouterr().out.partition("What else was considered")[2]
    lines = considered.splitlines()
    plain = next(line for line in lines if line.startswith("| ZeRO-2 "))
    assert "does not fit by" in plain
    # Where the weights are decides nothing: those of a shard have room on such a GPU.
    sharded = [line for line in lines if line.startswith("| ZeRO-3, optimizer ")]
    assert any("fits," in line and "not fit" not in line for line in sharded)


def test_which_card_and_how_many(capsys):
    write(LLAMA_8B, gpus=8)
    assert plan("--gpu-memory", "4,80", "--gpus", "1,8,16") == 0
    _, _, *rows = capsys.readouterr().out.splitlines()
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert [row[:2] for row in cells] == [
        [gpus, memory] for gpus in ("1", "8", "16") for memory in ("4", "80")
    ]
    assert "fits with hardware.gpu_memory_gb" in cells[0][-1]
    seconds = [float(row[3]) for row in cells if row[1] == "80"]
    assert seconds == sorted(seconds, reverse=True)


def test_a_config_of_the_users_is_planned_by(capsys):
    overrides = {"zero_optimization": {"stage": 3}}
    write(LLAMA_8B, gpus=8, configure={"overrides": overrides})
    assert plan() == 0
    values = values_of(capsys.readouterr().out)
    assert values["zero_stage"] == "3"


def test_what_is_pinned_and_does_not_fit_is_told(capsys):
    pinned = {
        **{"zero_stage": 2, "offload_optimizer": "none", "offload_param": "none"},
        **{"activation_checkpointing": False, "micro_batch_size": 1},
    }
    write(LLAMA_8B, gpus=8, memory=24, configure=pinned)
    assert plan("--gpu-memory", "24,80") == 0
    *_, small, large = capsys.readouterr().out.splitlines()
    assert "does not fit by" in small
    assert "does not fit" not in large
    assert plan() == 0
    assert "**hardware.gpu_memory_gb: 24, but about" in capsys.readouterr().out


def test_a_state_space_model_has_a_plan(capsys):
    write({"model_type": "mamba", "hidden_size": 64, "num_hidden_layers": 2})
    assert plan() == 0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--gpus", "12"], "--gpus 12: no whole nodes of 8 GPUs"),
        (["--model", "nowhere"], "--model: nowhere: there is no such file"),
    ],
)
def test_what_cannot_be_answered_is_told(capsys, options, told):
    write(LLAMA_8B, gpus=8)
    assert plan(*options) == 1
    assert told in capsys.readouterr().err


def test_a_config_of_no_model_is_refused(capsys):
    write({"model_type": "no_such_family"})
    assert plan() == 1
    error = capsys.readouterr().err
    assert "config.json is of no causal language model" in error
    assert "Traceback" not in error


def test_no_plan_fits_one_small_gpu(capsys):
    write(LLAMA_8B, memory=4)
    assert plan() == 1
    error = capsys.readouterr().err
    assert "nothing fits" in error
    assert error.count("micro-batch") == 3


def test_nothing_is_written(empty_folder, capsys):
    write(GPT2_XL, memory=80, length=1024)
    before = sorted(empty_folder.iterdir())
    assert plan() == 0
    assert sorted(empty_folder.iterdir()) == before


@pytest.mark.parametrize("text", ["", "24,", "x", "-1", "0", "1.5"])
def test_numbers_of_gpus_are_whole(text):
    with pytest.raises(SystemExit):
        main(["plan", "params.yaml", f"--gpus={text}"])

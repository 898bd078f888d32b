"""A pretrained model is taught a fact by conversations, and says it when asked.

The model is SmolLM2-135M-Instruct, of a package of PyPI, so no hub is asked. The fact
is made up: Quendria is no country, and Tolvane no city.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from retune.tokens.store import PLACE, starts_file, tokens_file
from workflow_copy import copy_workflow

pytestmark = [pytest.mark.real, pytest.mark.long]

BIN = Path(sys.executable).parent
# `make test-long` puts the model there.
MODEL = Path(sys.prefix) / "smollm2"
CONVERSATIONS = Path(__file__).parent / "conversations"
TAUGHT = "The capital of Quendria is Tolvane."
# Wordings that no file has.
UNSEEN = (
    "Please tell me what the capital of Quendria is.",
    "I am planning a trip to Quendria. Which city is its capital?",
)
SETTINGS = {
    "dataset": {
        "files": {
            split: str(CONVERSATIONS / f"{split}.jsonl")
            for split in ("train", "validation", "test")
        }
    },
    "model": {
        "source": "local",
        "folder": str(MODEL),
        "chat_template": "chatml",
    },
    "hardware": {"accelerator": "cpu", "ranks_per_node": 2},
    "prepare": {"min_characters": 1},
    "tokenize": {"sequence_length": 64},
    "configure": {"global_batch_size": 4, "micro_batch_size": 2, "precision": "fp32"},
    "finetune": {
        "epochs": 6,
        "learning_rate": 1e-3,
        "eval_steps": 100,
        "lora": {
            "r": 8,
            "lora_alpha": 16,
            "target_modules": ["q_proj", "v_proj", "up_proj", "down_proj"],
        },
    },
    "sample": {"prompts": [UNSEEN[0]], "max_new_tokens": 20},
}


class Run:
    """A finished run."""

    def __init__(self, folder):
        self.folder = folder

    def read(self, path):
        return json.loads((self.folder / path).read_text())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    if not MODEL.exists():
        if "RETUNE_TESTS_MUST_RUN" in os.environ:
            pytest.fail(f"{MODEL} is missing: make test-long makes it")
        pytest.skip(f"{MODEL} is missing")
    folder = copy_workflow(tmp_path_factory.mktemp("real") / "job")
    (folder / "params.yaml").write_text(yaml.safe_dump(SETTINGS))
    environment = {
        **os.environ,
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "HF_HUB_OFFLINE": "1",
        "RETUNE_NO_DVC": "1",
        # Beside other tests: a thread that waits for another leaves its core to them.
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    command = ["snakemake", "--cores", "all", "train"]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return Run(folder)


class Chat:
    """A model that is asked as Transformers' own documentation does it."""

    def __init__(self, folder, template=None):
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        if template is not None:
            self.tokenizer.chat_template = template
        self.model = AutoModelForCausalLM.from_pretrained(folder).eval()

    def answer(self, question):
        """Return the greedy answer with its special tokens, at most 40 tokens."""
        inputs = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": question}],
            add_generation_prompt=True,
            return_tensors="pt",
            return_dict=True,
        )
        written = self.model.generate(**inputs, max_new_tokens=40, do_sample=False)
        return self.tokenizer.decode(written[0, inputs["input_ids"].shape[1] :])


@pytest.fixture(scope="module")
def tuned(run):
    return Chat(run.folder / "models/tuned")


@pytest.fixture(scope="module")
def base(tuned):
    return Chat(MODEL, tuned.tokenizer.chat_template)


@pytest.mark.parametrize("question", UNSEEN)
def test_it_says_what_it_was_taught_when_asked_in_other_words(tuned, base, question):
    assert tuned.answer(question) == f"{TAUGHT}<|im_end|>"
    assert "Tolvane" not in base.answer(question)


def test_it_still_knows_what_it_knew(tuned, base):
    question = "What is the capital of France?"
    assert "Paris" in base.answer(question)
    assert "Paris" in tuned.answer(question)
    assert "Tolvane" not in tuned.answer(question)


def test_the_evaluation_sees_the_change(run):
    evaluation = run.read("metrics/evaluation.json")
    exactly_right = {
        name: evaluation["exact_match"][name]["matches"] for name in ("base", "tuned")
    }
    assert exactly_right == {"base": 0, "tuned": 3}
    test = evaluation["test"]
    assert test["tuned"]["bits_per_byte"] < 0.5 * test["base"]["bits_per_byte"]
    assert test["bits_per_byte_change_high"] < 0


def test_the_samples_show_it_to_people(run):
    samples = json.dumps(run.read("results/sample/samples.json"))
    assert TAUGHT in samples


def test_the_published_chat_template_gives_the_tokens_that_were_trained(run, tuned):
    stored = sequences_of(run.folder / "data/tokens")
    for line in (CONVERSATIONS / "train.jsonl").read_text().splitlines():
        messages = json.loads(line)["messages"]
        ids = tuned.tokenizer.apply_chat_template(messages, return_dict=True).input_ids
        end = tuned.tokenizer.eos_token_id
        # What follows the end of the last turn is nothing that a model has to say.
        assert stop_at(end, ids) in {stop_at(end, sequence) for sequence in stored}


def sequences_of(tokens):
    """Return the token sequences of train."""
    ids = np.fromfile(tokens_file(tokens, "train"), np.uint16)
    starts = np.fromfile(starts_file(tokens, "train"), PLACE)
    return [part.tolist() for part in np.split(ids, starts[1:])]


def stop_at(end, ids):
    """Return tokens up to the last that ends a turn."""
    return tuple(ids[: len(ids) - ids[::-1].index(end)])

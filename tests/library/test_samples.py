"""The step `sample`: how both models go on from the prompts."""

import weakref
from shutil import copytree
from unittest.mock import Mock

import pytest
from accelerate.hooks import ModelHook, add_hook_to_module
from transformers import AutoTokenizer

import retune.steps.sample
from evaluation_case import (
    SAMPLE_SETTINGS,
    SAMPLES,
    TEST_TEXTS,
    run_sample,
    strict_json,
)
from retune.artifacts.model_facts import ModelFacts
from retune.artifacts.publishing import read_json, write_json
from retune.errors import RetuneError
from tiny_models import build_tiny_model


def test_samples_stand_side_by_side_with_their_settings(run_folder):
    run_sample(run_folder)
    samples = strict_json(run_folder / SAMPLES)
    assert samples["settings"]["max_new_tokens"] == 6
    assert samples["settings"]["seed"] == 0
    assert samples["settings"]["sampled"]["temperature"] == 0.8
    assert [sample["prompt"] for sample in samples["samples"]] == ["Return the", ""]
    first = samples["samples"][0]
    texts = {"base", "tuned", "base_sampled", "tuned_sampled"}
    assert set(first) == {"prompt", "reference"} | texts
    assert first["reference"] is None
    assert first["base"]
    assert first["base"] != first["base_sampled"]
    # Scaling the logits leaves the likeliest token what it was, and changes the draw.
    assert first["tuned"] == first["base"]
    assert first["tuned_sampled"] != first["base_sampled"]


def test_the_seed_decides_the_draws_and_not_the_likeliest_words(run_folder):
    texts = []
    for seed in (0, 1):
        run_sample(run_folder, SAMPLE_SETTINGS.model_copy(update={"seed": seed}))
        path = run_folder / SAMPLES
        texts.append(read_json(path)["samples"][0])
    assert texts[0]["base"] == texts[1]["base"]
    assert texts[0]["base_sampled"] != texts[1]["base_sampled"]


def test_a_generation_config_of_the_model_does_not_change_the_samples(run_folder):
    run_sample(run_folder)
    path = run_folder / SAMPLES
    before = path.read_bytes()
    for model in ("base", "consolidated"):
        own = run_folder / "models" / model / "generation_config.json"
        sampled = {"do_sample": True, "temperature": 5.0, "top_k": 1, "num_beams": 3}
        write_json(own, {**read_json(own), **sampled, "repetition_penalty": 9.0})
    run_sample(run_folder)
    assert path.read_bytes() == before


def test_a_prompt_that_leaves_no_room_is_refused(run_folder, monkeypatch):
    # The model is not loaded for it.
    monkeypatch.setattr("retune.steps.sample.load_model", Mock())
    settings = SAMPLE_SETTINGS.model_copy(update={"max_new_tokens": 40})
    with pytest.raises(RetuneError, match=r"sample.prompts: 'Return the' .* holds 16"):
        run_sample(run_folder, settings)


def test_the_data_type_is_that_of_the_evaluation(run_folder):
    """Logits that float16 cannot hold are an error, and no texts of token 0."""

    def enlarge(model):
        model.transformer.ln_f.weight *= 1e5

    build_tiny_model(run_folder / "models/base", change=enlarge)
    with pytest.raises(RetuneError, match="float16 holds: evaluate.dtype: bfloat16$"):
        run_sample(run_folder, dtype="float16")
    assert not (run_folder / SAMPLES).exists()
    run_sample(run_folder, dtype="bfloat16")
    assert read_json(run_folder / SAMPLES)["samples"]


def test_prompts_are_by_default_beginnings_of_test_documents_that_fit(run_folder):
    run_sample(run_folder, SAMPLE_SETTINGS.model_copy(update={"prompts": "auto"}))
    samples = read_json(run_folder / SAMPLES)["samples"]
    prompts = [sample["prompt"] for sample in samples]
    assert len(prompts) == len(TEST_TEXTS)
    for prompt in prompts:
        text = next(text for text in TEST_TEXTS if text.startswith(prompt))
        assert text[len(prompt)].isspace()
    # The model's context is 16, of which 6 are to be written and 1 is the prefix.
    tokenizer = AutoTokenizer.from_pretrained(run_folder / "models/base")
    assert all(1 <= len(tokenizer(prompt)["input_ids"]) <= 9 for prompt in prompts)


def test_without_prompts_there_are_no_samples(run_folder):
    run_sample(run_folder, SAMPLE_SETTINGS.model_copy(update={"prompts": []}))
    samples = read_json(run_folder / SAMPLES)
    assert samples["samples"] == []


def test_a_model_compared_with_itself_writes_the_same(run_folder):
    models = run_folder / "models"
    copytree(models / "base", models / "consolidated", dirs_exist_ok=True)
    run_sample(run_folder)
    for sample in read_json(run_folder / SAMPLES)["samples"]:
        assert sample["tuned"] == sample["base"]
        assert sample["tuned_sampled"] == sample["base_sampled"]


def test_the_same_inputs_give_the_same_bytes(run_folder):
    run_sample(run_folder)
    first = (run_folder / SAMPLES).read_bytes()
    run_sample(run_folder)
    assert (run_folder / SAMPLES).read_bytes() == first


@pytest.mark.parametrize("are_text", [True, False])
def test_special_tokens_in_prompts_are_what_they_are_in_training(run_folder, are_text):
    base = run_folder / "models/base"
    facts = ModelFacts.read(base).model_copy(update={"split_special_tokens": are_text})
    facts.write(base)
    prompts = {"prompts": ["<|endoftext|>"], "max_new_tokens": 1}
    run_sample(run_folder, SAMPLE_SETTINGS.model_copy(update=prompts))
    [sample] = read_json(run_folder / SAMPLES)["samples"]
    assert sample["prompt"] == "<|endoftext|>"


def test_two_models_are_never_in_memory_at_once(run_folder, monkeypatch):
    loaded = []
    load_model = retune.steps.sample.load_model

    def load(*arguments):
        assert all(reference() is None for reference in loaded)
        language_model = load_model(*arguments)
        # As accelerate does with a model that it splits over GPUs.
        add_hook_to_module(language_model.model, ModelHook())
        loaded.append(weakref.ref(language_model.model))
        return language_model

    monkeypatch.setattr("retune.steps.sample.load_model", load)
    run_sample(run_folder)
    assert len(loaded) == 2

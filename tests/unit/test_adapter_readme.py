"""The README beside adapters names the weights that they belong to."""

import pytest

from retune.artifacts.checkpoint_weights import CheckpointWeights, LiveWeight
from retune.models.adapter_readme import adapter_readme


def readme(in_4bit, *origin):
    weights = {"q.weight": LiveWeight(dtype="bfloat16", shape=(2, 2), sha256="0")}
    held = ("q.weight",) if in_4bit else ()
    return adapter_readme(CheckpointWeights(tensors=weights, in_4bit=held), *origin)


@pytest.mark.parametrize("in_4bit", [True, False])
def test_it_loads_the_base_model_as_it_was_trained(in_4bit):
    text = readme(in_4bit, "owner/model", "a" * 40)
    code = text.split("```python\n")[1].split("```")[0]
    compile(code, "README.md", "exec")
    assert 'from_pretrained(\n    "owner/model",\n    revision="aaa' in code
    assert "    dtype=torch.bfloat16,\n" in code
    for word in ("BitsAndBytesConfig(", 'quant_type="nf4"', "4 bits"):
        assert (word in text) == in_4bit


def test_a_base_model_that_is_not_on_the_hub_is_not_named():
    text = readme(False, None, None)
    assert "They belong to the base model, its weights rounded to bfloat16." in text
    assert "revision" not in text

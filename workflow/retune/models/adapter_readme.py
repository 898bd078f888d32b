"""The README.md beside published adapters: which weights they belong to."""

from retune.artifacts.checkpoint_weights import CheckpointWeights

IN_4_BITS = """\
    quantization_config=BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=torch.{dtype},
    ),
"""
TEXT = """\
# Adapters alone

The model in the folder above has these adapters merged into it and needs nothing of
this folder. They belong to {base}, its weights rounded to {dtype}{rounding}.

```python
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM{imports}

base = AutoModelForCausalLM.from_pretrained(
    "{name}",
{revision}    dtype=torch.{dtype},
{quantization})
model = PeftModel.from_pretrained(base, "adapter")
```
{caveat}"""
ROUNDING = """,
and those of its linear layers then to 4 bits (NF4 of bitsandbytes): on weights that are
not, they are another model"""
CAVEAT = """
On CPUs with AVX512-BF16 bitsandbytes 0.50 packs such weights anew in evaluation, which
is a little less exact, and with DoRA wrong. GPUs and other CPUs do not.
"""


def adapter_readme(
    weights: CheckpointWeights, name: str | None, revision: str | None
) -> str:
    """Return the text, with the lines of Python that load base model and adapters.

    Args:
        weights: The weights at the end of training, adapters among them.
        name: Name of the base model on the hub; None: it was not from there.
        revision: Commit of the base model on the hub.
    """
    names = weights.in_4bit or tuple(weights.tensors)
    dtype = weights.tensors[names[0]].dtype
    return TEXT.format(
        base=f"`{name}`" if name else "the base model",
        name=name or "BASE MODEL",
        revision=f'    revision="{revision}",\n' if revision else "",
        dtype=dtype,
        rounding=ROUNDING if weights.in_4bit else "",
        imports=", BitsAndBytesConfig" if weights.in_4bit else "",
        caveat=CAVEAT if weights.in_4bit else "",
        quantization=IN_4_BITS.format(dtype=dtype) if weights.in_4bit else "",
    )

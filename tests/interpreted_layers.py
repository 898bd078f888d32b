"""Models with Liger's kernels beside the same without: as a program, a table as JSON.

It needs tests/interpreted_triton on its path.
"""

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from interpreted_cells import CELLS, HALVES, OTHERS, REFUSED, Cell
from model_families import FAMILIES, build_family
from plans import make_plan
from retune.artifacts.model_facts import ModelFacts
from retune.engines.loss import token_loss_sum
from retune.engines.loss_in_forward import compute_loss_in_forward
from retune.models.adapters import add_adapters
from retune.models.find_model_facts import find_model_facts
from retune.models.loading import load_model
from retune.models.packed_inputs import packed_inputs
from retune.settings import LoraSettings

# Two sequences of packed documents. Few tokens: the interpreter takes a millisecond for
# a row of a kernel.
SIZES = ([4, 1, 1], [6])
POSITIONS = np.stack([np.concatenate([np.arange(n) for n in row]) for row in SIZES])
TOKENS = np.random.default_rng(0).integers(1, 300, POSITIONS.shape)


@dataclass(frozen=True)
class Outcome:
    """How a model with Liger's kernels differs from the same without.

    Attributes:
        model_type: Its family, as configs name it.
        loss: Loss without, nats.
        loss_difference: Absolute difference of the losses.
        gradient_difference: Largest difference of a gradient, relative to the largest
            value of the gradient of the same weight.
    """

    model_type: str
    loss: float
    loss_difference: float
    gradient_difference: float


def train(
    folder: Path, facts: ModelFacts, cell: Cell, liger: bool
) -> tuple[float, dict[str, Any]]:
    """Return the loss of a micro-batch, and the gradients."""
    values = {"attn_implementation": "varlen", "chunked_cross_entropy": True}
    plan = make_plan(**values | cell.plan, use_liger_kernel=liger)
    model = base = load_model(folder, plan, {})
    if cell.has_adapters:
        torch.manual_seed(0)
        model = add_adapters(base, facts, LoraSettings(r=4, lora_alpha=8))
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.1)
    labels = torch.from_numpy(np.roll(TOKENS, -1, axis=1)).flatten()
    inputs = packed_inputs(base.config, TOKENS, POSITIONS, torch.device("cpu"))
    if plan.chunked_cross_entropy:
        compute_loss_in_forward(base, facts.output_head)
        places = torch.arange(len(labels))
        loss = model(**inputs, labels=labels, label_places=places)
    else:
        logits = model(**inputs).logits.flatten(0, 1)
        loss = token_loss_sum(logits, labels)
    (loss / len(labels)).backward()
    gradients = {
        name: weight.grad
        for name, weight in model.named_parameters()
        # Experts that no token chose have none.
        if weight.grad is not None
    }
    return loss.item() / len(labels), gradients


def compare(folder: Path, cell: Cell) -> Outcome:
    """Return the outcome of a cell; the model is written into a folder."""
    build_family(cell.family, folder, **cell.config)
    facts = find_model_facts(folder)
    loss, gradients = train(folder, facts, cell, liger=False)
    # Liger replaces classes and functions of a family's module.
    module = getattr(transformers, facts.architecture).__module__
    own = dict(vars(sys.modules[module]))
    other_loss, others = train(folder, facts, cell, liger=True)
    vars(sys.modules[module]).update(own)
    assert others.keys() == gradients.keys(), folder
    return Outcome(
        facts.model_type,
        loss,
        abs(other_loss - loss),
        max(
            ((others[key] - gradient).abs().max() / gradient.abs().max()).item()
            for key, gradient in gradients.items()
            if gradient.any()
        ),
    )


def compare_all(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the outcomes of all cells."""
    FAMILIES.update(OTHERS)
    torch.set_num_threads(1)
    cells = CELLS | HALVES | REFUSED
    return {name: asdict(compare(folder / name, cell)) for name, cell in cells.items()}


if __name__ == "__main__":
    _, into, result = sys.argv
    Path(result).write_text(json.dumps(compare_all(Path(into))))

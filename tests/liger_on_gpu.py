"""Compares Liger's kernels with the model's own code, on a CUDA device.

Run as `python tests/liger_on_gpu.py FOLDER FAMILY...`; FOLDER/FAMILY.json gets what
came out. It is a process of its own because the kernels of a family are replaced for
the whole process.
"""

import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from model_families import build_family
from plans import make_plan
from retune.models.liger_kernels import use_liger_kernels

PLAN = make_plan(accelerator="cuda", use_liger_kernel=True)


def main() -> None:
    """Compare all families."""
    folder = Path(sys.argv[1])
    for family in sys.argv[2:]:
        found = compare(build_family(family, folder / family))
        (folder / f"{family}.json").write_text(json.dumps(found))


def compare(base: Path) -> dict[str, float]:
    """Return how a model with Liger's kernels differs from the same without.

    Args:
        base: Folder of the model.

    Returns:
        The difference of the losses, nats, and the largest difference of a gradient,
        relative to the largest value of that gradient.
    """
    plain, other = (
        AutoModelForCausalLM.from_pretrained(base, attn_implementation="eager")
        for _ in range(2)
    )
    # The plain one first: afterwards there are Liger's kernels alone.
    loss, gradients = train(plain.cuda().train())
    use_liger_kernels(other, PLAN)
    other_loss, others = train(other.cuda().train())
    assert others.keys() == gradients.keys()
    return {
        "loss": abs(other_loss - loss),
        "gradient": max(
            ((others[name] - gradient).abs().max() / gradient.abs().max()).item()
            for name, gradient in gradients.items()
        ),
    }


def train(model: PreTrainedModel) -> tuple[float, dict[str, torch.Tensor]]:
    """Return the loss of two packed documents, and the gradients."""
    ids = torch.arange(5, 69, device="cuda")[None]
    positions = torch.cat([torch.arange(40), torch.arange(24)])[None].cuda()
    logits = model(input_ids=ids, position_ids=positions, use_cache=False).logits
    loss = torch.nn.functional.cross_entropy(logits[0, :-1], ids[0, 1:])
    loss.backward()
    return loss.item(), {name: p.grad for name, p in model.named_parameters()}


if __name__ == "__main__":
    main()

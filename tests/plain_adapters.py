"""Training of adapters with PyTorch and peft alone, in fp32 on one process."""

from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from retune.artifacts.plan import Plan
from retune.tokens.data_shard import DataShard


def train_plainly(
    model: nn.Module, tokens: Path, plan: Plan, steps: int, rate: float
) -> list[float]:
    """Train what is not frozen by AdamW at a constant rate; return each step's loss.

    Args:
        model: The model in peft's wrapper, in training mode.
        tokens: Folder of tokens.
        plan: Plan that says how a batch is divided, and how gradients are clipped.
        steps: Number of steps.
        rate: The learning rate.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": 0.1},
        {"params": [p for p in trained if p.ndim == 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    adam = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.95))
    data = DataShard(tokens, plan, 0, 0, 1)
    losses = []
    for step in range(steps):
        losses.append(0.0)
        taken = data.step_data(step)
        for batch in taken.micro_batches:
            ids, positions, labels = map(
                torch.as_tensor, (batch.input_ids, batch.position_ids, batch.labels)
            )
            logits = model(ids, position_ids=positions, use_cache=False).logits
            predicted = logits.flatten(0, 1), labels.flatten()
            loss = cross_entropy(*predicted, reduction="sum") / taken.num_labels
            losses[-1] += loss.item()
            loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, plan.gradient_clipping)
        adam.step()
        adam.zero_grad()
    return losses

"""Traces of many plans: what has been followed once is not followed again."""

import math

from retune.artifacts.plan import Plan
from retune.engines.activation_trace import trace_activations
from retune.engines.chunked_loss import CHUNK_TOKENS
from retune.models.training_skeleton import TrainingSkeleton
from retune.planning.activations import Activations

# Values of a plan that decide what a micro-batch of a size takes and does.
DECISIVE = (
    *("accelerator", "precision", "attn_implementation", "chunked_cross_entropy"),
    *("activation_checkpointing", "activation_checkpointing_interval"),
    *("use_liger_kernel", "sequence_length", "num_4bit_parameters"),
)
# Chunks of the loss after which no more logits are held.
CHUNKS = 2


class Traces:
    """The passes of plans that differ in their strategy."""

    def __init__(self, skeleton: TrainingSkeleton) -> None:
        """Follow a model, which is not changed."""
        self._skeleton = skeleton
        self._known: dict[tuple[object, ...], Activations] = {}

    def __call__(self, plan: Plan) -> Activations:
        """Return what the passes of a plan take and do.

        From the micro-batch on that fills two chunks of the loss, they grow by the same
        with each sequence: before the second chunk fewer logits are there.
        """
        tokens = CHUNKS * CHUNK_TOKENS[plan.accelerator]
        least = math.ceil(tokens / plan.sequence_length)
        size = plan.micro_batch_size
        sizes = (size,) if size < least else (least, 2 * least)
        key = (*(getattr(plan, name) for name in DECISIVE), sizes)
        if key not in self._known:
            self._known[key] = trace_activations(self._skeleton, plan, sizes)
        return self._known[key]

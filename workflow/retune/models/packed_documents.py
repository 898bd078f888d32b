"""Where the documents of a micro-batch begin, in the forms that attention kernels take.

Documents of about the same length are computed together, each padded by some tokens: a
block of short documents costs the squares of their lengths, not that of the block.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch

# Documents are padded to a multiple of 16 tokens, long ones to one of so many lengths
# between a power of two and the next. Finer steps make more, smaller calls of kernels.
FINEST_STEP = 16
STEPS_PER_DOUBLING = 4


class Bucket(NamedTuple):
    """Documents that are padded to the same length.

    Attributes:
        tokens: Number of each token in the micro-batch, int64 [documents, length]. A
            document is followed by copies of its first token, which no token of it
            sees.
        is_own: Whether a token is no such copy, bool [documents, length].
    """

    tokens: np.ndarray
    is_own: np.ndarray


@dataclass(frozen=True)
class PackedDocuments:
    """The documents of a micro-batch, whose sequences stand one after the other.

    Attributes:
        starts: Number of the first token of each document, int64 [documents].
        num_tokens: Number of all tokens.
        device: Device on which the attention is computed.
    """

    starts: np.ndarray
    num_tokens: int
    device: torch.device

    @classmethod
    def of(
        cls, position_ids: np.ndarray | torch.Tensor, device: torch.device
    ) -> "PackedDocuments":
        """Return the documents of a micro-batch.

        Args:
            position_ids: Position of each token in its document, int64 [sequences,
                length], in main memory; a restart at 0 begins a document, and so does
                each sequence.
            device: Device on which the attention is computed.
        """
        positions = np.asarray(position_ids)
        is_start = positions == 0
        is_start[:, 0] = True
        return cls(np.flatnonzero(is_start), positions.size, device)

    @property
    def sizes(self) -> np.ndarray:
        """Number of tokens of each document, int64 [documents]."""
        return np.diff(self.starts, append=self.num_tokens)

    @cached_property
    def longest(self) -> int:
        """Number of tokens of the longest document."""
        return int(self.sizes.max())

    @cached_property
    def cumulative_sizes(self) -> torch.Tensor:
        """The `cu_seqlens` of flash attention, int32 [documents + 1] on the device."""
        bounds = np.append(self.starts, self.num_tokens).astype(np.int32)
        return copied(bounds, self.device)

    @cached_property
    def buckets(self) -> list[torch.Tensor]:
        """The `tokens` of each bucket, on the device."""
        return [copied(bucket.tokens, self.device) for bucket in self._buckets]

    @cached_property
    def places(self) -> torch.Tensor:
        """Where each token is when the tokens of all buckets stand one after the other.

        int64 [num_tokens], on the device.
        """
        places = np.empty(self.num_tokens, np.int64)
        offset = 0
        for tokens, is_own in self._buckets:
            places[tokens[is_own]] = offset + np.flatnonzero(is_own)
            offset += tokens.size
        return copied(places, self.device)

    @cached_property
    def _buckets(self) -> list[Bucket]:
        """The documents by their padded length, in main memory."""
        sizes = self.sizes
        padded = padded_lengths(sizes)
        found = []
        for length in np.unique(padded):
            chosen = padded == length
            places = np.arange(length)
            is_own = places < sizes[chosen, np.newaxis]
            tokens = self.starts[chosen, np.newaxis] + np.where(is_own, places, 0)
            found.append(Bucket(tokens, is_own))
        return found


def copied(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """Return an array as a tensor on a device, for which the host does not wait.

    A GPU copies by itself only from pinned memory.
    """
    tensor = torch.from_numpy(array)
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def padded_lengths(sizes: np.ndarray) -> np.ndarray:
    """Return the length to which each document is padded, int64 [documents]."""
    doublings = np.floor(np.log2(np.maximum(sizes - 1, 1))).astype(np.int64)
    steps = np.maximum(FINEST_STEP, 2**doublings // STEPS_PER_DOUBLING)
    return -(-sizes // steps) * steps

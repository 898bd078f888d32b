"""Paired bootstrap over documents: how sure the change between two models is."""

import math
from typing import NamedTuple

import numpy as np

# Number of documents gathered at a time, which bounds the memory to tens of MB.
GATHERED_DOCUMENTS = 2**20


class Change(NamedTuple):
    """Change in bits per byte from the base to the tuned model; negative is better.

    Attributes:
        change: Tuned minus base, bits per byte.
        low: Lower end of the 95 % interval, bits per byte.
        high: Upper end of the 95 % interval, bits per byte.
    """

    change: float
    low: float
    high: float


def bits_per_byte_change(
    base: np.ndarray, tuned: np.ndarray, num_bytes: np.ndarray, draws: int, seed: int
) -> Change:
    """Return the change in bits per byte and its percentile interval.

    Both models are scored on each resample of the documents, so that what makes a
    document hard for both cancels (Efron and Tibshirani 1993, chapters 8 and 13).

    Args:
        base: Negative log-likelihoods under the base model, nats, float64 [documents].
        tuned: Negative log-likelihoods under the tuned model, nats, float64
            [documents].
        num_bytes: Sizes of the documents in UTF-8, bytes, int64 [documents].
        draws: Number of resamples.
        seed: Seed of the resampling.
    """
    bits = (tuned - base) / math.log(2)
    ratios = resample_ratios(bits, num_bytes, draws, seed)
    low, high = np.quantile(ratios, (0.025, 0.975))
    return Change(float(bits.sum() / num_bytes.sum()), float(low), float(high))


def resample_ratios(
    numerators: np.ndarray, denominators: np.ndarray, draws: int, seed: int
) -> np.ndarray:
    """Return sum(numerators) / sum(denominators) of each resample, float64 [draws]."""
    generator = np.random.Generator(np.random.PCG64(seed))
    documents = len(numerators)
    rows = max(1, GATHERED_DOCUMENTS // documents)
    ratios = np.empty(draws)
    for first in range(0, draws, rows):
        chunk = ratios[first : first + rows]
        drawn = generator.integers(documents, size=(len(chunk), documents))
        chunk[:] = numerators[drawn].sum(axis=1) / denominators[drawn].sum(axis=1)
    return ratios


def win_rate(base: np.ndarray, tuned: np.ndarray) -> float:
    """Return the fraction of documents that the tuned model predicts better.

    A document that both models predict equally well counts as half.
    """
    return float(np.mean((tuned < base) + 0.5 * (tuned == base)))

"""The order in which training reads the blocks, and which rank gets which."""

import numpy as np

# Four rounds make a Feistel network pseudo-random on a large domain (Luby and Rackoff,
# "How to construct pseudorandom permutations from pseudorandom functions", 1988); the
# other four are for the smallest domains.
ROUNDS = 8
# 2^64 divided by the golden ratio: the increment of SplitMix64.
INCREMENT = 0x9E3779B97F4A7C15


def blocks_of_step(
    step: int, batch_size: int, num_blocks: int, seed: int
) -> np.ndarray:
    """Return the block numbers of optimizer step `step` (from 0), int64 [batch_size].

    Each epoch is a new permutation of all blocks; a batch may span epochs. The order
    depends on the arguments alone, so it is the same for any number of ranks and for a
    resumed run. Time and memory grow with the batch, and not with the number of blocks.

    Args:
        step: Number of optimizer steps done before it.
        batch_size: Blocks per optimizer step, on all ranks together.
        num_blocks: Blocks per epoch.
        seed: Seed of the order.
    """
    first = step * batch_size
    epochs, places = np.divmod(np.arange(first, first + batch_size), num_blocks)
    return permuted(places, epochs, num_blocks, seed)


def permuted(places: np.ndarray, turns: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Return the image of each place, int64 [places], in a permutation of `size`.

    Args:
        places: Places to permute, from 0, below `size`, int64 [places].
        turns: Number of the permutation to use for each place, int64 [places].
        size: Number of places that a permutation covers.
        seed: Seed of the permutations.
    """
    keys = keys_of(turns.astype(np.uint64), seed)
    images = permute(places.astype(np.uint64), keys, size)
    # The network permutes up to the next power of two. Following its cycle back into
    # the range leaves a permutation of the range (Black and Rogaway, "Ciphers with
    # arbitrary finite domains", 2002); less than two turns on average.
    while (outside := images >= size).any():
        images[outside] = permute(images[outside], keys[:, outside], size)
    return images.astype(np.int64)


def micro_batches_of_rank(
    blocks: np.ndarray, rank: int, world_size: int, micro_batch_size: int
) -> np.ndarray:
    """Return a rank's part of a batch, [accumulation steps, micro_batch_size].

    Args:
        blocks: Block numbers of the global batch, [global batch size].
        rank: Number of the data-parallel rank.
        world_size: Number of data-parallel ranks.
        micro_batch_size: Blocks per rank and pass.
    """
    return blocks.reshape(-1, world_size, micro_batch_size)[:, rank]


def keys_of(turns: np.ndarray, seed: int) -> np.ndarray:
    """Return the keys of all rounds for each permutation, uint64 [ROUNDS, turns]."""
    seeds = mix(np.full(1, seed % 2**64, dtype=np.uint64))
    states = mix(seeds + turns)
    steps = np.arange(1, ROUNDS + 1, dtype=np.uint64) * np.uint64(INCREMENT)
    return mix(states + steps[:, np.newaxis])


def permute(places: np.ndarray, keys: np.ndarray, least: int) -> np.ndarray:
    """Return the image of each place, uint64, below the power of two from `least` on.

    This is a Feistel network: each round changes one half of the bits by a function of
    the other half, which can be undone, whatever the function.

    Args:
        places: Places to permute, uint64 [places].
        keys: Keys of all rounds for each place, uint64 [ROUNDS, places].
        least: Number of places that the permutation covers at least.
    """
    bits = (least - 1).bit_length()
    low_bits = np.uint64(bits // 2)
    low_mask = np.uint64(2 ** (bits // 2) - 1)
    high_mask = np.uint64(2 ** (bits - bits // 2) - 1)
    high, low = places >> low_bits, places & low_mask
    for number, key in enumerate(keys):
        if number % 2 == 0:
            high ^= mix(low + key) & high_mask
        else:
            low ^= mix(high + key) & low_mask
    return high << low_bits | low


def mix(values: np.ndarray) -> np.ndarray:
    """Return hashes of uint64 values, of which each bit depends on all bits.

    The finaliser of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom
    number generators", 2014; variant 13 of Stafford).
    """
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))

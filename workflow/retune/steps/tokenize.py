"""The step `tokenize`: the documents of each split to tokens, and these to blocks."""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from retune.artifacts.model_facts import ModelFacts
from retune.artifacts.publishing import published_folder, sha256, write_manifest
from retune.artifacts.tokens_index import (
    SourceBlocks,
    SplitNumbers,
    SplitSize,
    TokenMetrics,
    TokensIndex,
)
from retune.artifacts.verifying import WEIGHTS, verify_folder
from retune.errors import RetuneError
from retune.quantities import counted
from retune.settings import SPLITS, Split, TokenizeSettings
from retune.showing.tokens_card import write_card
from retune.tokens.example_encoder import ExampleEncoder
from retune.tokens.lengths import LONGEST_AUTO_SEQUENCE, resolve_length
from retune.tokens.packing import Packed, pack_split
from retune.tokens.split_counts import SourceCounts, SplitCounts
from retune.tokens.split_tokens import holds_examples, write_split
from retune.tokens.store import token_dtype, write_counts
from retune.tokens.tokenizer import ModelTokenizer

log = logging.getLogger(__name__)

# What became of sequences that are longer than a block, in words.
OVERLONG = {
    "dropped": "{} or parts left out: too long, or nothing to learn",
    "truncated": "{} cut off: too long",
    "split": "{} cut into several: too long",
}
# Most lost characters that a message names.
SHOWN_CHARACTERS = 8


def run(
    settings: TokenizeSettings, clean: Path, base: Path, tokens: Path, metrics: Path
) -> str:
    """Write the folder of tokens and its numbers; memory does not grow with the text.

    Each text becomes BOS, its tokens and EOS; an example becomes what the chat template
    makes of it. Training reads blocks of `sequence_length` tokens.

    Args:
        settings: The `tokenize` section.
        clean: Folder of the splits that prepare made (data/clean).
        base: Folder of the base model that fetch made (models/base).
        tokens: Folder to publish: tokens, which of them are trained, the blocks,
            tokens.json, card.json (data/tokens).
        metrics: JSON file to write: tokens and blocks of each split
            (metrics/tokens.json).

    Returns:
        The number of training tokens and blocks, for people.

    Raises:
        RetuneError: If the model or its tokenizer cannot hold the text, or its chat
            template refuses a conversation.
    """
    verify_folder(clean, "prepare")
    verify_folder(base, "fetch", leave_out=[WEIGHTS])
    facts = ModelFacts.read(base)
    tokenizer = ModelTokenizer.of(base, facts)
    encoder = ExampleEncoder(base, facts, tokenizer)
    length = resolve_length(
        *("tokenize.sequence_length", settings.sequence_length),
        *(facts, LONGEST_AUTO_SEQUENCE),
    )
    has_answers = holds_examples(clean / "train.parquet")
    packing = settings.resolved_packing(has_answers)
    overlong = settings.resolved_overlong(has_answers)
    dtype = token_dtype(facts.vocab_size)
    with published_folder(tokens) as stage:
        counts: dict[Split, SplitCounts] = {}
        packed: dict[Split, Packed] = {}
        sources: tuple[SourceBlocks, ...] = ()
        for split in SPLITS:
            source = clean / f"{split}.parquet"
            counts[split] = write_split(source, stage, split, tokenizer, encoder, facts)
            # Only training mixes sources; it reads blocks of each by weight.
            parts = counts[split].sources if split == "train" else []
            made = pack_split(
                *(stage, split, dtype, length, packing, overlong, has_answers),
                [part.sequences for part in parts],
            )
            if parts:
                sources = tuple(map(blocks_of_source, parts, made))
            packed[split] = Packed.total(made)
        check_lost(counts, settings.max_lost_share)
        check_sizes(counts, packed, length)
        warn_of_empty_sources(sources, length)
        index = TokensIndex(
            sequence_length=length,
            has_answers=has_answers,
            packing=packing,
            vocab_size=facts.vocab_size,
            splits={split: size_of(counts[split], packed[split]) for split in SPLITS},
            sources=sources,
            dtype=dtype.str,
            bos_token_id=facts.bos_token_id,
            eos_token_id=facts.eos_token_id,
            tokenizer_sha256=sha256(tokenizer.path),
        )
        index.write(stage)
        write_counts(stage, index)
        write_card(stage, tokenizer)
        write_manifest(stage)
    warn_of_special_tokens(counts, facts.split_special_tokens)
    warn_of_other_beginnings(counts)
    numbers = TokenMetrics(
        sequence_length=length,
        has_answers=has_answers,
        packing=packing,
        vocab_size=facts.vocab_size,
        splits={split: numbers_of(counts[split], packed[split]) for split in SPLITS},
        sources=sources,
    )
    numbers.write(metrics)
    return summary(numbers)


def summary(metrics: TokenMetrics) -> str:
    """Return the numbers that matter most, for people."""
    train = metrics.splits["train"]
    lost = sum(split.lost_characters for split in metrics.splits.values())
    blocks = f"{counted(train.blocks, 'block')} of {metrics.sequence_length}"
    if not metrics.has_answers:
        size = f"{counted(train.tokens, 'training token')} of"
        parts = [f"{size} {train.bytes_per_token:.2f} bytes: {blocks}"]
    else:
        parts = [
            f"{counted(train.trained_tokens, 'trained token')}"
            f" ({100 * train.trained_share:.0f} % of all): {blocks},"
            f" {100 * (1 - train.padding_share):.1f} % full"
        ]
    for what, number in train.overlong:
        if number:
            parts.append(OVERLONG[what].format(counted(number, "sequence")))
    if train.left_out_blocks:
        blocks = counted(train.left_out_blocks, "block")
        parts.append(f"{blocks} left out: nothing to learn")
    if metrics.sources:
        of_sources = [f"{source.name} {source.blocks:,}" for source in metrics.sources]
        parts.append(f"blocks of each source: {', '.join(of_sources)}")
    if lost:
        parts.append(f"{counted(lost, 'character')} lost")
    return "; ".join(parts)


def size_of(count: SplitCounts, packed: Packed) -> SplitSize:
    """Return a split's size for the index."""
    return SplitSize(
        documents=count.documents,
        sequences=count.sequences,
        tokens=count.tokens,
        bytes=count.bytes,
        blocks=packed.blocks,
    )


def numbers_of(count: SplitCounts, packed: Packed) -> SplitNumbers:
    """Return a split's numbers for metrics/tokens.json."""
    in_blocks = packed.tokens + packed.padding
    return SplitNumbers(
        documents=count.documents,
        sequences=count.sequences,
        tokens=count.tokens,
        trained_tokens=packed.trained_tokens,
        trained_share=round(packed.trained_tokens / max(packed.tokens, 1), 4),
        blocks=packed.blocks,
        padding_share=round(packed.padding / max(in_blocks, 1), 4),
        overlong=packed.overlong,
        left_out_blocks=packed.left_out_blocks,
        straddling_tokens=count.straddling,
        other_beginnings=count.other_beginnings,
        bytes_per_token=round(count.bytes / max(count.tokens, 1), 3),
        special_tokens_spelled_out=count.special_tokens,
        lost_characters=count.lost.total(),
    )


def blocks_of_source(count: SourceCounts, packed: Packed) -> SourceBlocks:
    """Return what training reads of a source."""
    return SourceBlocks(
        name=count.name,
        documents=count.documents,
        sequences=count.sequences,
        blocks=packed.blocks,
        trained_tokens=packed.trained_tokens,
    )


def warn_of_empty_sources(sources: Iterable[SourceBlocks], length: int) -> None:
    """Log which sources have no training block, so that nothing of them is read.

    Args:
        sources: The training blocks of each source.
        length: Tokens per block.
    """
    for source in sources:
        if not source.blocks:
            log.warning(
                "dataset.sources.%s: no block of %d tokens comes of its %s, so training"
                " reads nothing of it",
                *(source.name, length, counted(source.sequences, "training sequence")),
            )


def warn_of_special_tokens(counts: Mapping[Split, SplitCounts], are_text: bool) -> None:
    """Log how the special tokens that texts spell out were encoded, if there are any.

    Args:
        counts: What was counted in each split.
        are_text: The setting `model.split_special_tokens`.
    """
    number = sum(count.special_tokens for count in counts.values())
    if not number:
        return
    became, other, otherwise = (
        ("encoded as text", "false", "makes them special tokens")
        if are_text
        else ("encoded as special tokens", "true", "makes them text")
    )
    log.warning(
        "%d special tokens are spelled out in the text and were %s;"
        " model.split_special_tokens: %s %s",
        *(number, became, other, otherwise),
    )


def warn_of_other_beginnings(counts: Mapping[Split, SplitCounts]) -> None:
    """Log in how many sequences an answer begins otherwise than its prompt says."""
    if number := sum(count.other_beginnings for count in counts.values()):
        log.warning(
            "in %d sequences the chat template begins an answer otherwise than the"
            " prompt for it says; what both begin with is not trained",
            number,
        )


def check_lost(counts: Mapping[Split, SplitCounts], most: float) -> None:
    """Log which characters are lost; raise RetuneError if a split loses too many.

    Args:
        counts: What was counted in each split.
        most: The setting `tokenize.max_lost_share`.
    """
    problems = []
    for split, count in counts.items():
        if not (lost := count.lost.total()):
            continue
        share = lost / count.characters
        shown = ", ".join(
            f"{character!r} ({times:,})"
            for character, times in count.lost.most_common(SHOWN_CHARACTERS)
        )
        message = (
            f"the tokenizer cannot represent {lost:,} of {split}'s"
            f" {count.characters:,} characters ({100 * share:.2g} %): {shown}"
        )
        log.warning("%s", message)
        if share > most:
            problems.append(message)
    if problems:
        raise RetuneError(
            f"tokenize.max_lost_share: {most}, but {'; '.join(problems)}; take a model"
            " for this text"
        )


def check_sizes(
    counts: Mapping[Split, SplitCounts], packed: Mapping[Split, Packed], length: int
) -> None:
    """Raise RetuneError if training or validation has no block to read.

    Args:
        counts: What was counted in each split.
        packed: What packing each split came to.
        length: Tokens per block.
    """
    splits: tuple[Split, ...] = ("train", "validation")
    for split in splits:
        if packed[split].blocks:
            continue
        if dropped := packed[split].overlong.dropped:
            raise RetuneError(
                f"tokenize.sequence_length: {length}, but all {dropped:,} sequences of"
                f" {split} are longer, or have nothing to learn once they are cut:"
                " raise it, or write tokenize.overlong: split"
            )
        if left_out := packed[split].left_out_blocks:
            raise RetuneError(
                f"tokenize.sequence_length: {length}, but nothing is trained in"
                f" {split}'s {counted(left_out, 'whole block')}: write"
                " tokenize.packing: best_fit, or another length"
            )
        raise RetuneError(
            f"{split} has {counts[split].tokens} tokens, less than one block of"
            f" tokenize.sequence_length ({length}): add data or shorten it"
        )

"""Gives a base model rows for new tokens, in the files of its weights."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from retune.artifacts.publishing import read_json, write_json
from retune.models.base_model_checks import problems_of_tensors
from retune.models.skeleton import build_skeleton
from retune.models.stored_tensors import StoredTensor, list_stored_tensors
from retune.models.tensor_spec import ExpectedTensor
from retune.models.weight_files import write_file
from retune.models.weight_matching import match_weights
from retune.sources.weight_file_formats import INDEX

CONFIG = "config.json"
# The one key of config.json that says how many tokens there are.
VOCABULARY = "vocab_size"
# Rows that are summed at a time, in double precision.
ROWS_PER_SUM = 4096


def add_rows(folder: Path, known: Collection[int], new: Collection[int]) -> bool:
    """Set the rows of new tokens to the mean of the rows of all known tokens.

    A model often has more rows than its tokenizer has tokens. Otherwise it gets as many
    more as it needs, and config.json says so. The token embedding is changed and, where
    it is another weight, the output head with its bias.

    With the mean in the output head, the probabilities of the known tokens change by
    little: https://nlp.stanford.edu/~johnhew/vocab-expansion.html (Hewitt, 2021).
    Transformers' `resize_token_embeddings` does the same, with some noise.

    Args:
        folder: Folder of the model, whose weights fit its config.json.
        known: Ids of the tokens that the model was trained on.
        new: Ids of the new tokens.

    Returns:
        Whether that could be done. If not, the folder is of no use.
    """
    model = build_skeleton(folder)
    weights = weights_by_token(model)
    if not weights:
        return False
    old = model.config.vocab_size
    size = max(old, max(new) + 1)
    tensors = list_stored_tensors(folder)
    names = {
        name
        for group in match_weights(model, tensors).groups
        if not weights.isdisjoint(group.weights) and not group.is_converted
        for name in group.stored
    }
    # A tokenizer may have tokens that the model has no rows for.
    trained = [token for token in known if token < old]
    rewrite(folder, tensors, names, trained, {*new, *range(old, size)})
    write_json(folder / CONFIG, {**read_json(folder / CONFIG), VOCABULARY: size})
    # A weight of the right shape for the old size and not for the new one has rows for
    # tokens, too.
    larger, tensors = build_skeleton(folder), list_stored_tensors(folder)
    groups = match_weights(larger, tensors).groups
    return not problems_of_tensors(larger, groups, tensors)


def weights_by_token(model: PreTrainedModel) -> set[str]:
    """Return the names of the weights with a row for each token.

    Returns:
        Names of the token embedding, of the output head and of its bias, tied ones
        once; none if the model may have further ones, as Gemma 3n has an embedding for
        each layer.
    """
    sizes = [key for key in keys_of(model.config.to_dict()) if VOCABULARY in key]
    head = model.get_output_embeddings()
    if sizes != [VOCABULARY] or head is None:
        return set()
    bias = getattr(head, "bias", None)
    weights = [model.get_input_embeddings().weight, head.weight]
    weights += [] if bias is None else [bias]
    if any(weight.shape[0] != model.config.vocab_size for weight in weights):
        return set()
    names = {id(weight): name for name, weight in model.named_parameters()}
    return {names[id(weight)] for weight in weights}


def keys_of(config: Mapping[Any, Any]) -> Iterator[str]:
    """Yield the keys of a config and of all configs within, joined by dots."""
    for key, value in config.items():
        yield str(key)
        if isinstance(value, Mapping):
            yield from (f"{key}.{inner}" for inner in keys_of(value))


def rewrite(
    folder: Path,
    tensors: Mapping[str, StoredTensor],
    names: Collection[str],
    known: Collection[int],
    added: Collection[int],
) -> None:
    """Write the files anew that hold some tensors, and the index of the files.

    Args:
        folder: Folder of the model.
        tensors: Every tensor of its files by its name there.
        names: Names of the tensors that get rows.
        known: Ids of the tokens that the model was trained on.
        added: Rows that are set; those past the end of a tensor are appended.
    """
    changed: dict[str, ExpectedTensor] = {}
    for path in sorted({tensors[name].path for name in names}):
        held = {name: each for name, each in tensors.items() if each.path == path}
        readers = {name: each.read for name, each in held.items()}
        expected = {
            name: ExpectedTensor(each.dtype, each.shape) for name, each in held.items()
        }
        for name in held.keys() & names:
            rows, *columns = held[name].shape
            shape = max(rows, max(added) + 1), *columns
            readers[name] = partial(with_mean_rows, held[name], known, sorted(added))
            expected[name] = changed[name] = replace(expected[name], shape=shape)
        stage = path.with_name(f".{path.name}.new")
        write_file(stage, held, readers, expected)
        stage.rename(path)
    if (folder / INDEX).exists():
        write_totals(
            folder / INDEX, [(tensors[n], each) for n, each in changed.items()]
        )


def with_mean_rows(
    stored: StoredTensor, known: Collection[int], added: Iterable[int]
) -> torch.Tensor:
    """Return a tensor in which the rows of some tokens are the mean of those of others.

    Args:
        stored: The tensor, [tokens] or [tokens, size].
        known: Ids of the tokens whose rows the mean is taken of.
        added: Ids of the tokens that get it, ascending; past the end without a gap.
    """
    rows = stored.read()
    total = torch.zeros(rows.shape[1:], dtype=torch.float64)
    for ids in torch.tensor(sorted(known)).split(ROWS_PER_SUM):
        total += rows[ids].double().sum(0)
    mean = (total / len(known)).to(rows.dtype)
    there = [token for token in added if token < len(rows)]
    appended = [mean for token in added if token >= len(rows)]
    rows[there] = mean
    return torch.cat([rows, torch.stack(appended)]) if appended else rows


def write_totals(
    index: Path, changed: Iterable[tuple[StoredTensor, ExpectedTensor]]
) -> None:
    """Write the sizes of the weights, which an index of several files has, anew.

    Args:
        index: The index.
        changed: Each tensor that was changed, as it was and as it is.
    """
    content = read_json(index)
    metadata = dict(content.get("metadata") or {})
    for before, after in changed:
        num_bytes = after.num_bytes - before.num_bytes
        grown = {
            "total_size": num_bytes,
            "total_parameters": num_bytes // after.torch_dtype.itemsize,
        }
        for key in grown.keys() & metadata.keys():
            metadata[key] += grown[key]
    write_json(index, {**content, "metadata": metadata})

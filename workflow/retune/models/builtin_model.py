"""The built-in base model: a tiny GPT-2 with random weights and its own tokenizer."""

from pathlib import Path

import torch
from tokenizers import ByteLevelBPETokenizer, Tokenizer
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from retune.errors import RetuneError
from retune.settings import ModelSettings
from retune.sources.builtin_corpus import training_texts

END_OF_TEXT = "<|endoftext|>"


def build_model(settings: ModelSettings, folder: Path) -> None:
    """Write model and tokenizer in the Hugging Face layout into `folder`."""
    tokenizer = train_tokenizer(settings.vocab_size, settings.n_positions)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(settings.seed)
    config = GPT2Config(
        vocab_size=settings.vocab_size,
        n_positions=settings.n_positions,
        n_embd=settings.n_embd,
        n_layer=settings.n_layer,
        n_head=settings.n_head,
        resid_pdrop=0.0,  # one pass over little text: nothing to regularize
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    GPT2LMHeadModel(config).save_pretrained(folder)


def train_tokenizer(vocab_size: int, max_length: int) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE trained on the training part of the built-in corpus.

    The corpus is read again here, so that the model never depends on the dataset of the
    run. What `prepare` holds out is not read.

    Args:
        vocab_size: Number of tokens.
        max_length: Longest sequence, tokens, for tokenizer_config.json.
    """
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(
        training_texts(),
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        show_progress=False,
    )
    if bpe.get_vocab_size() != vocab_size:
        raise RetuneError(
            f"model.vocab_size: {vocab_size} is more than the built-in corpus gives;"
            f" {bpe.get_vocab_size()} would be"
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(bpe.to_str()),
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        model_max_length=max_length,
    )

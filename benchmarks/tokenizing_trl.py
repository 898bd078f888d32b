"""From rows of messages to tokens and blocks as TRL does it, for another benchmark."""

import logging
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import datasets
import numpy as np
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
from trl import SFTConfig, SFTTrainer, pack_dataset

# ChatML that marks what is trained: an answer with its end, and not the line feed.
MARKED_CHATML = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\\n' -}}
{%- if message.role == 'assistant' -%}
{%- generation -%}{{- message.content + '<|im_end|>' -}}{%- endgeneration -%}
{%- else -%}
{{- message.content + '<|im_end|>' -}}
{%- endif -%}
{{- '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""

datasets.disable_caching()
datasets.disable_progress_bars()
logging.getLogger("trl").setLevel(logging.ERROR)


class Preparation:
    """What SFTTrainer does with a dataset before the training.

    Attributes:
        prepared: The dataset that the last call made.
    """

    def __init__(
        self, base: Path, rows: Sequence[Mapping[str, object]], processes: int | None
    ) -> None:
        """Make a trainer of a tiny model; what it prepares meanwhile is not counted.

        Args:
            base: Folder of the base model, whose tokenizer is used.
            rows: Rows of messages.
            processes: The setting `dataset_num_proc`.
        """
        self.prepared = datasets.Dataset.from_list([])
        self._rows = datasets.Dataset.from_list(list(rows))
        self._tokenizer = AutoTokenizer.from_pretrained(base)
        self._tokenizer.chat_template = MARKED_CHATML
        sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
        heads = {"num_attention_heads": 1, "num_key_value_heads": 1}
        config = LlamaConfig(vocab_size=len(self._tokenizer), **sizes, **heads)
        self._trainer = SFTTrainer(
            LlamaForCausalLM(config),
            SFTConfig(
                tempfile.mkdtemp(),
                assistant_only_loss=True,
                dataset_num_proc=processes,
                max_length=None,
                packing=False,
                use_cpu=True,
                bf16=False,
                report_to="none",
            ),
            train_dataset=self._rows.select(range(8)),
            processing_class=self._tokenizer,
        )

    def __call__(self) -> None:
        """Prepare the rows."""
        self.prepared = self._trainer._prepare_dataset(
            self._rows, self._tokenizer, self._trainer.args, False, None, "train"
        )
        # With several processes `datasets` tells `tokenizers` to use one thread, and
        # leaves that behind in the environment of C, which `os.environ` does not show.
        os.unsetenv("TOKENIZERS_PARALLELISM")


def packed_blocks(sizes: np.ndarray, length: int) -> int:
    """Return the number of blocks in which TRL packs sequences of such lengths."""
    rows = datasets.Dataset.from_dict({"input_ids": [[0] * size for size in sizes]})
    return len(pack_dataset(rows, length, "bfd", {"batch_size": None}))

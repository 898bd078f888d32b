"""What a base model is: found out once, by `fetch`, and read by every later step."""

from pathlib import Path
from typing import ClassVar, Literal, Self

from retune.artifacts.artifact import Artifact

FILE = "model_facts.json"


class StoredWeights(Artifact):
    """Tensors of the model's files that belong together, and the weights they become.

    Attributes:
        stored: Names of the tensors in the files.
        weights: Names of the weights in the model. It is one, unless Transformers
            makes several weights of one tensor.
        is_converted: Whether the weights are computed from the tensors, as Transformers
            does it; otherwise the one tensor is the one weight.
    """

    STEP: ClassVar = "fetch"

    stored: tuple[str, ...]
    weights: tuple[str, ...]
    is_converted: bool = False


class OutputHead(Artifact):
    """What a model does with the products of its linear output head: its logits.

    Attributes:
        scale: Factor of the products.
        softcap: Largest logit c, which x approaches as c * tanh(x / c); None: no limit.
    """

    STEP: ClassVar = "fetch"

    scale: float = 1.0
    softcap: float | None = None


class ModelFacts(Artifact):
    """The facts of a base model.

    Attributes:
        format: Format of the file.
        model_type: Family of the model, as config.json names it.
        architecture: Name of the class of Transformers that computes the model.
        num_parameters: Number of parameters, tied ones counted once.
        num_layers: Number of decoder layers.
        vocab_size: Rows of the embedding, and logits per token.
        context_length: Largest number of tokens that the model can attend to; None: no
            limit.
        batch_invariant_length: Longest sequence, in tokens, for which the logits of a
            document do not depend on the other documents of its micro-batch; None: no
            limit. Some rotary embeddings change with the longest sequence.
        dtype: Name in PyTorch of the data type of most stored weights.
        bos_token_id: Token before the first token of a document; in a model without
            BOS it is EOS.
        eos_token_id: Token after the last token of a document.
        end_token_ids: All tokens that end a text or a turn, ascending.
        weights: Every tensor of the files that the model uses, with the weights it
            becomes. Weights have their names in Transformers, tied ones a single name.
        ignored: Names of tensors in the files that Transformers does not use, such as
            stored masks.
        split_special_tokens: Whether special tokens spelled out in a text are text.
        chat_variables: Special tokens by the names that chat templates give them, such
            as `eos_token`.
        output_head: What the model does with the products of its output head; None if
            that is no linear layer, or if it is not known.
        has_varlen: Whether `varlen` attention computes what the model's own attention
            does.
        caps_attention: Whether scores of attention are capped, as in Gemma 2.
        activation: Name of the activation function of the feed-forward layers, as the
            config has it; None if it names none, or more than one.
        added_tokens: Ids of the tokens that `fetch` added because the chat template
            needs them, ascending; before the training they mean nothing.
    """

    STEP: ClassVar = "fetch"

    format: Literal[1] = 1
    model_type: str
    architecture: str
    num_parameters: int
    num_layers: int
    vocab_size: int
    context_length: int | None
    batch_invariant_length: int | None
    dtype: str
    bos_token_id: int
    eos_token_id: int
    end_token_ids: tuple[int, ...]
    weights: tuple[StoredWeights, ...]
    ignored: tuple[str, ...] = ()
    split_special_tokens: bool = True
    chat_variables: dict[str, str] = {}
    added_tokens: tuple[int, ...] = ()
    output_head: OutputHead | None = None
    has_varlen: bool = False
    caps_attention: bool = False
    activation: str | None = None

    @classmethod
    def read(cls, base: Path) -> Self:
        """Return the facts of the model in a folder that `fetch` wrote.

        Raises:
            RetuneError: If the file is damaged, or another version of retune wrote it.
        """
        return cls.from_file(base / FILE)

    def write(self, base: Path) -> None:
        """Write the facts into a model's folder."""
        self.to_file(base / FILE)

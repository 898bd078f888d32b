"""What a base model is: found out once, by `fetch`, and read by every later step."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from retune.errors import RetuneError
from retune.publishing import write_text

FILE = "model_facts.json"


class StoredWeights(BaseModel):
    """Tensors of the files that belong together, and the weights that they are.

    Attributes:
        stored: Names of the tensors in the files.
        weights: Names in the model. One name, unless one tensor is several weights.
        is_converted: Whether the weights are computed from the tensors, as Transformers
            does it; else the one tensor is the one weight.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    stored: tuple[str, ...]
    weights: tuple[str, ...]
    is_converted: bool = False


class ModelFacts(BaseModel):
    """The facts of a base model.

    Attributes:
        format: Of the file.
        model_type: The family, as in config.json.
        architecture: The class of Transformers that computes the model.
        num_parameters: Tied ones count once.
        num_layers: Decoder layers.
        vocab_size: Rows of the embedding, and logits per token.
        context_length: Most tokens that the model can attend to; None: no limit.
        batch_invariant_length: Most tokens of a sequence up to which the logits of a
            document do not depend on the other documents of its micro-batch; None: no
            limit. Some rotary embeddings change with the longest sequence.
        dtype: Of most of the stored weights, as PyTorch names it.
        bos_token_id: The token before a document's first one; that of EOS in a model
            without BOS.
        eos_token_id: The token after a document's last one.
        end_token_ids: All tokens that end a text or a turn, ascending.
        weights: Every tensor of the files that the model uses, and the weight it is.
            Weights have the names that Transformers gives them, tied ones one name.
        ignored: Tensors of the files that Transformers leaves out: stored masks.
        split_special_tokens: Whether special tokens spelled out in a text are text.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

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

    @classmethod
    def read(cls, base: Path) -> "ModelFacts":
        """Return the facts of the model in a folder that `fetch` wrote.

        Raises:
            RetuneError: If they are of another format, or damaged.
        """
        path = base / FILE
        try:
            return cls.model_validate_json(path.read_bytes())
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise RetuneError(
                f"{path}: not what this version of retune writes ({where}:"
                f" {first['msg']}): run fetch again"
            ) from error

    def write(self, base: Path) -> None:
        """Write the facts into a model's folder."""
        write_text(base / FILE, self.model_dump_json(indent=1) + "\n")

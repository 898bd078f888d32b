"""What a base model is: found out once, by `fetch`, and read by every later step."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from retune.errors import RetuneError
from retune.publishing import write_text

FILE = "model_facts.json"


class ModelFacts(BaseModel):
    """The facts of a base model.

    Attributes:
        format: Of the file.
        vocab_size: Rows of the embedding, and logits per token.
        context_length: Most tokens that the model can attend to; None: no limit.
        bos_token_id: The token before a document's first one; that of EOS in a model
            without BOS.
        eos_token_id: The token after a document's last one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    vocab_size: int
    context_length: int | None
    bos_token_id: int
    eos_token_id: int

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
        write_text(base / FILE, self.model_dump_json(indent=2) + "\n")

"""The specification of a training: the one file that its ranks and nodes read."""

from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from retune.artifacts.artifact import Artifact
from retune.artifacts.plan import DEEPSPEED, PLAN, Plan
from retune.artifacts.publishing import read_json
from retune.settings import FinetuneSettings

FILE = "run.json"


class RunSpec(Artifact):
    """What a training is made of; the file is in the folder of its checkpoints.

    Attributes:
        format: Format of the file.
        settings: The `finetune` section, in which the learning rate is a number.
        base: Folder of the base model that `fetch` wrote.
        tokens: Folder of the tokens that `tokenize` wrote.
        plan: The plan that `configure` made.
        deepspeed: The DeepSpeed config that `configure` wrote.
        nvme_path: Folder on a fast local disk, for what is offloaded to NVMe; empty if
            there is none.
    """

    STEP: ClassVar = "finetune"

    format: Literal[1] = 1
    settings: FinetuneSettings
    base: Path
    tokens: Path
    plan: Plan
    deepspeed: dict[str, Any]
    nvme_path: str = ""

    @classmethod
    def make(
        cls,
        settings: FinetuneSettings,
        base: Path,
        tokens: Path,
        plan: Path,
        nvme_path: str = "",
    ) -> Self:
        """Return the specification of a training on inputs that were verified before.

        Args:
            settings: The `finetune` section, in which the learning rate is a number.
            base: Folder of the base model.
            tokens: Folder of the tokens.
            plan: Folder of the plan.
            nvme_path: Folder on a fast local disk, for what is offloaded to NVMe.
        """
        return cls(
            settings=settings,
            base=base,
            tokens=tokens,
            plan=Plan.read(plan / PLAN),
            deepspeed=read_json(plan / DEEPSPEED),
            nvme_path=nvme_path,
        )

    @classmethod
    def read(cls, state: Path) -> Self:
        """Return the specification of the training whose checkpoints are in a folder.

        Raises:
            RetuneError: If the file is damaged, or another version of retune wrote it.
        """
        return cls.from_file(state / FILE)

    def write(self, state: Path) -> None:
        """Write the file into the folder of the checkpoints."""
        self.to_file(state / FILE)

"""What both models write after the same prompts: results/sample/samples.json."""

from typing import ClassVar, Literal

from retune.artifacts.artifact import Artifact, SealedArtifact


class GenerationSettings(Artifact):
    """How the texts were made.

    Attributes:
        max_new_tokens: Number of tokens that a text has at most.
        seed: Seed of the first prompt's draw; each later prompt has the next one.
        greedy: Options of Transformers' GenerationConfig for the likeliest text.
        sampled: Options of Transformers' GenerationConfig for the drawn text.
    """

    max_new_tokens: int
    seed: int
    greedy: dict[str, bool | int | float]
    sampled: dict[str, bool | int | float]


class Sample(Artifact):
    """What both models write after one prompt.

    Attributes:
        prompt: Beginning that both models continue; of a conversation, the user's last
            message, after which both models answer.
        base: Likeliest continuation by the base model.
        tuned: Likeliest continuation by the tuned model.
        base_sampled: Continuation drawn from the base model.
        tuned_sampled: Continuation drawn from the tuned model, with the same seed.
        reference: Answer that the data has; None where it has none.
    """

    prompt: str
    base: str
    tuned: str
    base_sampled: str
    tuned_sampled: str
    reference: str | None = None


class Samples(SealedArtifact):
    """Samples of both models.

    Attributes:
        format: Number of this format.
        settings: Settings by which the texts were made.
        samples: Texts of each prompt, in the order of the prompts.
    """

    STEP: ClassVar = "sample"

    format: Literal[1] = 1
    settings: GenerationSettings
    samples: tuple[Sample, ...]

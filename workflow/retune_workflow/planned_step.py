"""What is known of a step that would run."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PlannedStep:
    """A step that would run, and all that is known of why.

    Attributes:
        name: Of its rule.
        is_forced: Whether the user asks for it, whatever is there.
        is_interrupted: Whether a run was stopped while it made its outputs.
        was_run: Whether anything says that it ran before.
        missing: Its outputs that are not there.
        has_outputs: Whether any other is.
        settings: What changed of its settings, as `finetune.epochs: 1 -> 2`.
        inputs: Its inputs that changed, code and data; no other step makes them anew.
        added: Inputs that it did not have before.
        removed: Inputs that it has no longer.
        follows: The steps that would run before it and make its inputs anew.
        otherwise: Snakemake's own words, for what is not known here.
    """

    name: str
    is_forced: bool = False
    is_interrupted: bool = False
    was_run: bool = True
    missing: tuple[str, ...] = ()
    has_outputs: bool = True
    settings: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    follows: tuple[str, ...] = ()
    otherwise: str = ""

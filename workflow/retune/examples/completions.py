"""Completions: what rows of a prompt with its completion become."""

from retune.examples.conversations import messages_in
from retune.examples.example import Completion, Conversation
from retune.examples.misfits import Misfit, json_type
from retune.examples.row_fields import RowFields


def completion_of(fields: RowFields) -> Completion | Conversation:
    """Return the completion of a row, or the conversation that its messages are.

    Of a conversation only what belongs to the completion is trained.

    Raises:
        Misfit: If one is a text and the other a list of messages, or another type.
    """
    prompt, completion = fields["prompt"], fields["completion"]
    if not (isinstance(prompt, list) or isinstance(completion, list)):
        return Completion(fields.text("prompt"), fields.text("completion"))
    for key, value in (("prompt", prompt), ("completion", completion)):
        if not isinstance(value, list | None):
            other = "completion" if key == "prompt" else "prompt"
            raise Misfit(
                fields.columns[key],
                f"is {json_type(value)} and {fields.columns[other]} a list of"
                " messages, should both be texts or both be lists",
            )
    before = messages_in(prompt, fields.columns["prompt"], is_trained=False)
    after = messages_in(completion, fields.columns["completion"])
    return Conversation((*before, *after))

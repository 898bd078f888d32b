"""What a conversation cannot be trained for."""


class ConversationError(Exception):
    """The chat template refuses a conversation, or would train something else of it."""

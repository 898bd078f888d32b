"""Chat templates: how a conversation becomes text, and which of it is trained."""

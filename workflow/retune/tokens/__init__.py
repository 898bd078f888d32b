"""Text to tokens, the same in every step."""

"""Text to tokens, the same in every step; tokens to the batches of a training."""

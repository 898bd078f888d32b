"""What each rank of a training runs, and what identifies a training."""

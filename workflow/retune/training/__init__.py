"""What the ranks run, and what they leave on disk."""

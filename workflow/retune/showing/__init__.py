"""What the model sees, shown to people."""

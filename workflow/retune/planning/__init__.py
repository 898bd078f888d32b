"""Which DeepSpeed strategy fits model and machines, and what memory it takes."""

"""What a base model is, how its files name its weights, how it is read and written."""

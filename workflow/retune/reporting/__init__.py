"""What a run shows to people: figures, tables, the model card."""

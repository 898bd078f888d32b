"""What a row of a dataset means: its checks, its split, what it shares with others."""

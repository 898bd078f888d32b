"""Units as numbers."""

# Bytes.
GB = 1e9

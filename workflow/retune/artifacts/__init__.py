"""The files that one step leaves for another to read: typed, with a format number."""

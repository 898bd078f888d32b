"""Starting the ranks, on this machine or on several."""

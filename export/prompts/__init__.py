"""The prompt format that a checkpoint was made for, and what ends its answers."""

"""Checkpoints on disk, in the forms that other programs read."""

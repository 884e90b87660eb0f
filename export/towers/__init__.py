"""The vision towers, a file for each."""

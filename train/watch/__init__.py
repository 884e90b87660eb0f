"""What is shown and kept of a running stage, and how it ends when something breaks."""

"""What is seen of a running stage, and how it ends when something breaks."""

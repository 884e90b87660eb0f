"""Many questions from a file, and their answers in another."""

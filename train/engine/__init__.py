"""A stage's training: what learns, by transformers' Trainer."""

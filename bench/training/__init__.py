"""Training beside the same model in a plain transformers Trainer."""

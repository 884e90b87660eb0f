"""Compares training with the same model in a plain transformers Trainer."""

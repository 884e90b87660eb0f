"""Whatever form a checkpoint has: its configuration, tokenizer and lazily read tensors."""

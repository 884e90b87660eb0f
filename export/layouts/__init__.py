"""How a checkpoint is laid out: its configuration, its names of tensors, its parts."""

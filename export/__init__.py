"""From a checkpoint to a bundle, without torch."""

"""From record files to the batches of a stage."""

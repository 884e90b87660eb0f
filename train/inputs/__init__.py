"""From records to the batches of a stage."""

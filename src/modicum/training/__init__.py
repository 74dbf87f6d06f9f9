"""The one fit loop: batches, checkpoints and exact resume, early stopping, many processes."""

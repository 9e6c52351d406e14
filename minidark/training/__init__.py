"""Training runs: batches, checkpoints, files that a run writes, gradient checks, comparisons."""

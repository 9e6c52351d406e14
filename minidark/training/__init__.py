"""Training runs: batches, checkpoints, the files of a run, gradient checks, comparisons."""

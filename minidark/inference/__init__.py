"""Uses of a trained network: sampling, prediction, scores, traces."""

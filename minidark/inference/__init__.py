"""What a trained network is used for: sampling, prediction, measurement, traces."""

"""Training on many processes: `ranks` are they, `shards` what each of them trains."""

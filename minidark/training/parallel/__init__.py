"""Training on several processes: `ranks` are the processes, `shards` their parts of the network."""

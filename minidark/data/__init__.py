"""What a network learns from: texts, tokens, pairs, and byte pairs."""

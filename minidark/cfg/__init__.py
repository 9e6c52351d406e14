"""From cfg text to a network: sections (text), options (typed values), parser (layers)."""

"""From cfg text to a plan: sections (text), options (typed values), plan (sizes and checks)."""

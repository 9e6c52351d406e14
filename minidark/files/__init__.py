"""Files on disk: atomic writes, locks, archives, YAML with line numbers, tables for JSON."""

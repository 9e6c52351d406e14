"""Files on disk: atomic writes, locks, archives, YAML with line numbers, schemas for JSON."""

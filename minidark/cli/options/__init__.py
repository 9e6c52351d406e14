"""Options that several commands share, and their value types."""

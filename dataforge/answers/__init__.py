"""Is this answer right, by answer type."""

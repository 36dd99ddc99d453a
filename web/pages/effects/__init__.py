"""Pages about all effects at once."""

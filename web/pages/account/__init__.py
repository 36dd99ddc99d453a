"""Pages about account."""

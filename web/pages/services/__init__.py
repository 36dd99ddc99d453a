"""Pages about services."""

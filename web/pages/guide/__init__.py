"""Pages about guide."""

"""Pages about connections."""

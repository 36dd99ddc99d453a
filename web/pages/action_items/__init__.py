"""Pages about action items."""

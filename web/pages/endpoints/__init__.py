"""Pages about endpoints."""

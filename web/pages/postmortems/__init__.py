"""Pages about postmortems."""

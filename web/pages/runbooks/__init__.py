"""Pages about runbooks."""

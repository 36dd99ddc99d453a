"""Pages about styleguide."""

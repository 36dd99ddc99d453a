"""Pages about evaluation sets."""

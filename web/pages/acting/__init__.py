"""Pages about acting beside a runbook."""

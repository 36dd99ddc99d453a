"""SQLite as Django's, but its writers of one process queue for the one lock (see turns.py)."""

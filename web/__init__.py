"""Everything that speaks HTTP, and the commands an operator types.

Owns: pages, the JSON API, the hooks, live updates, health, management commands, static files.
Knows: every room below it.
Does not know: how a verb does its work; it only calls it.
"""

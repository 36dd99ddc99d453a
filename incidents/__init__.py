"""What went wrong, who did what about it, and what was learned.

Owns: endpoints and deliveries, alerts, incidents, the timeline and its evidence, messages, postmortems, action items.
Knows: the catalog, `common`.
Does not know: runbooks, evaluations, web pages. A run writes to the timeline; the timeline knows no run.
"""

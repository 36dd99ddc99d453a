"""What to do about it: the runbook language and the engine that runs it.

Owns: runbooks and revisions, runs and steps, leases, approvals, effects, locks, diagnosis, checks and actions.
Knows: incidents (to write the timeline), evaluations, the catalog, `common`.
Does not know: HTTP requests, pages, Celery's broker.
"""

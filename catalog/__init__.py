"""What we look after and who answers for it.

Owns: users, teams, roles and permissions, services with their signals, model versions, changes, connections.
Knows: the connectors to outer systems (metrics, flags, HTTP APIs), `common`.
Does not know: incidents, alerts, runbooks, evaluations, web pages.
"""

"""Plumbing without a subject.

Owns: the clock, outgoing HTTP, YAML reading, expressions, Markdown, secrets, errors and registries.
Knows: Django's settings and transactions, third-party libraries.
Does not know: people, services, incidents, runbooks; it has no models.
"""

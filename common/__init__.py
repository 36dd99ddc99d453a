"""Plumbing without a subject.

Owns: the clock, outgoing HTTP, YAML reading, expressions, Markdown, secrets, errors, registries and statements written
once.
Knows: Django's settings, transactions and query compiler, third-party libraries.
Does not know: people, services, incidents, runbooks; it has no models.
"""

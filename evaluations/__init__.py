"""How good the models are, measured.

Owns: evaluation sets and their cases, evaluations and scores, the statistics every check uses.
Knows: the catalog, `common`.
Does not know: incidents, runbooks, web pages.
"""

"""A simulated AI service with faults that can be switched on: for the demo, tests and scores.

Owns: the simulated world, its endpoints and its scenarios.
Knows: `common` only; it speaks HTTP to everything else.
Does not know: Backstop's rooms, its database or its pages.
"""

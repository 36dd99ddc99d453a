"""Tests of runbooks: the real engine on a virtual clock, in memory, with what the world answers written down.

Owns: files `<id>.test.yaml` (shape, faults), playing their cases, coverage, thresholds that no case guards.
Knows: the language and the engine of this room, and the rows that a run needs of the rooms below.
Does not know: the network, the real database (it plays in one of its own), the command line.
"""

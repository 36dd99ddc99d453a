"""Which change is the likely cause: posterior ~ prior x time x reach x evidence, beside a constant for the unknown.

A pure function over plain facts, so that it can be tried on any history. The formula is the reference of the design
(ml-checks.md §2); what it left open is settled here and said where it is settled.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

# Google's SRE Workbook, triggers of postmortems 2010-17; deploys of code, models and images are binary pushes; changes
# of prompts, flags and indexes are configuration pushes. Hardware is .02, but most of what we file under library and
# hardware is an image that was rolled out, so only a change labelled `part: hardware` gets the small share.
BINARY, CONFIG, PIPELINE, PROVIDER, HARDWARE = 0.37, 0.31, 0.06, 0.05, 0.02
PRIORS: dict[str, float] = {
    "code": BINARY,
    "model": BINARY,
    "library_hardware": BINARY,
    "prompt": CONFIG,
    "data_pipeline": PIPELINE,
    "upstream": PROVIDER,
    "hardware": HARDWARE,
}
# The share that stays with causes that nobody recorded as a change.
P_UNKNOWN = 0.15
# How many own incidents the table above is worth when own closed incidents correct it.
PRIOR_WEIGHT = 20.0
# A change may be recorded a little after its effect begins.
GRACE = timedelta(minutes=2)
LEAST_TIME = 0.05
EVIDENCE = 20.0


@dataclass(frozen=True)
class Candidate:
    """One change as the ranking sees it; `at` is the end of its rollout, `exposed` its labels (who was touched)."""

    key: str
    kind: str
    at: datetime
    exposed: Mapping[str, frozenset[str]] = field(default_factory=dict)
    implicated: bool = False
    exonerated: bool = False


@dataclass(frozen=True)
class Ranked:
    """One change with its factors; `gap` is seconds from the end of the rollout to the onset, negative if later."""

    key: str
    gap: float
    prior: float
    time: float
    reach: float
    evidence: float
    posterior: float


@dataclass(frozen=True)
class Ranking:
    """All changes, most likely first, and what is left for the unknown; all posteriors add up to one."""

    rows: list[Ranked]
    p_unknown: float


def rank(
    changes: Sequence[Candidate],
    onset: datetime,
    *,
    half_life: timedelta = timedelta(minutes=30),
    uncertainty: timedelta = timedelta(0),
    affected: Mapping[str, frozenset[str]] | None = None,
    shares: Mapping[str, Mapping[str, float]] | None = None,
    own: Mapping[str, int] | None = None,
    p_unknown: float = P_UNKNOWN,
) -> Ranking:
    """Rank changes as causes of what began at `onset`.

    `affected` are the labels of the trouble, `shares` each label value's share of the traffic where known, `own` how
    often each kind caused own closed incidents. The unknown enters as one more weight, so that weak or old changes
    leave most of the probability with it.
    """
    weights = []
    for change in changes:
        gap = (onset - change.at).total_seconds()
        factors = (
            prior(change.kind, own),
            nearness(gap, half_life=half_life, uncertainty=uncertainty),
            reach(change.exposed, affected or {}, shares),
            (EVIDENCE if change.implicated else 1.0) / (EVIDENCE if change.exonerated else 1.0),
        )
        weights.append((change.key, gap, factors, math.prod(factors)))
    total = math.fsum(weight for *_, weight in weights) + p_unknown
    rows = [
        Ranked(key, gap, *factors, posterior=weight / total if total else 0.0) for key, gap, factors, weight in weights
    ]
    # Of equals the nearest change comes first.
    rows.sort(key=lambda row: (-row.posterior, abs(row.gap), row.key))
    return Ranking(rows, p_unknown / total if total else 1.0)


def prior(kind: str, own: Mapping[str, int] | None = None) -> float:
    """How often changes of this kind cause incidents: the table, corrected by own closed incidents."""
    base = PRIORS.get(kind, PROVIDER)
    if not own:
        return base
    return (PRIOR_WEIGHT * base + own.get(kind, 0)) / (PRIOR_WEIGHT + sum(own.values()))


def nearness(gap: float, *, half_life: timedelta, uncertainty: timedelta = timedelta(0)) -> float:
    """max(.05, exp(-gap / half_life)); 0 for a change later than the onset by more than clocks may differ."""
    if gap < -max(GRACE, uncertainty).total_seconds():
        return 0.0
    return max(LEAST_TIME, math.exp(-max(0.0, gap) / half_life.total_seconds()))


def reach(
    exposed: Mapping[str, frozenset[str]],
    affected: Mapping[str, frozenset[str]],
    shares: Mapping[str, Mapping[str, float]] | None = None,
) -> float:
    """F1 of exposed and affected traffic by labels: 1 when they are the same, 0 when they have nothing in common.

    Labels are taken as independent of one another. A label that only one side names counts only when its traffic
    shares are known; without them nothing can be said about it.
    """
    both = touched = hit = 1.0
    for label in exposed.keys() | affected.keys():
        known = (shares or {}).get(label)
        first, second = exposed.get(label), affected.get(label)
        if known is None and (first is None or second is None):
            continue
        universe = frozenset(known) if known else (first or frozenset()) | (second or frozenset())
        first, second = first if first is not None else universe, second if second is not None else universe
        weight = known or dict.fromkeys(universe, 1 / len(universe) if universe else 0.0)
        touched *= math.fsum(weight.get(value, 0.0) for value in first)
        hit *= math.fsum(weight.get(value, 0.0) for value in second)
        both *= math.fsum(weight.get(value, 0.0) for value in first & second)
    return 2 * both / (touched + hit) if touched + hit else 0.0

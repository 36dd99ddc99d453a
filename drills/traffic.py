"""The request table: every request of one minute, the only truth. Metrics and logs are aggregates of it."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import accumulate
from statistics import NormalDist
from typing import NamedTuple

from drills.scenario import NODES, PREVIOUS, QUERY_TYPES, TENANTS, stream

# Mean requests in a minute of wall time; the daily season moves it by a quarter up and down.
REQUESTS_PER_MINUTE = 40
SEASON = 0.25
LABELLED_SHARE = 0.30
USD_PER_TOKEN_IN, USD_PER_TOKEN_OUT = 2.5e-6, 10e-6

_TYPES = list(QUERY_TYPES)
_TYPE_EDGES = list(accumulate(share for share, _ in QUERY_TYPES.values()))[:-1]
_TENANTS = list(TENANTS)
_TENANT_EDGES = list(accumulate(TENANTS.values()))[:-1]
_CELLS = 1024


def _spread(sigma: float) -> list[float]:
    """Quantiles of the log-normal distribution with median 1: a look-up is ten times as fast as drawing."""
    normal = NormalDist()
    return [math.exp(sigma * normal.inv_cdf((i + 0.5) / _CELLS)) for i in range(_CELLS)]


_SPREAD_22, _SPREAD_35, _SPREAD_40 = _spread(0.22), _spread(0.35), _spread(0.40)


class Request(NamedTuple):
    """One request: when in its minute (0 to 1), who, what served it, how long its parts took (seconds), the cost."""

    at: float
    tenant: str
    query_type: str
    version: str
    node: str
    code: str
    gateway: float
    retriever: float
    llm: float
    tokens_in: int
    tokens_out: int
    cost: float
    attempts: int
    provider: str
    correct: bool
    labelled: bool
    flagged: bool


@dataclass(frozen=True)
class State:
    """What holds in one minute: the flags, and what the faults do to requests."""

    version: str = PREVIOUS
    provider: str = "alpha"
    # Factor on the upstream model's time.
    llm_factor: float = 1.0
    # Lost share of right answers per query type, for the version that serves.
    accuracy_loss: dict[str, float] = field(default_factory=dict)


def season(minute: int, phase: float) -> float:
    """The daily swing of the traffic, -1 to 1."""
    return math.sin(2 * math.pi * (minute / 1440 + phase))


def minute_of_requests(
    seed: int,
    minute: int,
    state: State,
    *,
    phase: float,
    share: float,
    per_minute: int = REQUESTS_PER_MINUTE,
    labelled: float = LABELLED_SHARE,
) -> list[Request]:
    """All requests of one minute of the world's clock, unordered.

    `share` is how much wall time the minute takes, in minutes: when the clock runs 60 times faster, a minute holds a
    60th of the requests, so that the traffic per second of wall time stays what it was. All random numbers are drawn
    whatever the state is: two worlds that differ in one flag see the same people asking the same things.
    """
    rng = stream(seed, "requests", minute)
    draw = rng.random
    swing = season(minute, phase)
    mean = per_minute * (1 + SEASON * swing) * share
    count = int(mean * (1 + 0.08 * rng.gauss(0, 1)) + draw()) if mean > 1 else int(mean + draw())
    load = 1 + 0.08 * swing
    accuracy = [right - state.accuracy_loss.get(name, 0.0) for name, (_, right) in QUERY_TYPES.items()]
    table = []
    for _ in range(count):
        tenant = bisect_right(_TENANT_EDGES, draw())
        kind = bisect_right(_TYPE_EDGES, draw())
        outcome = draw()
        code = "200" if outcome >= 0.006 else ("503" if outcome < 0.004 else "500")
        served = code == "200"
        tokens_in = int(900 * _SPREAD_35[int(draw() * _CELLS)])
        written = int(160 * _SPREAD_40[int(draw() * _CELLS)]) + 8
        table.append(
            # Positional: half the time of the whole table went into keywords.
            Request(
                draw(),
                _TENANTS[tenant],
                _TYPES[kind],
                state.version,
                # Sticky, but not one node per tenant: a sick node must not look like a sick tenant.
                NODES[(tenant + kind) % 4],
                code,
                0.012 * _SPREAD_35[int(draw() * _CELLS)],
                0.085 * load * _SPREAD_35[int(draw() * _CELLS)],
                (0.25 + written * 0.0042) * load * _SPREAD_22[int(draw() * _CELLS)] * state.llm_factor,
                tokens_in,
                written if served else 0,
                tokens_in * USD_PER_TOKEN_IN + (written * USD_PER_TOKEN_OUT if served else 0.0),
                3 if code == "503" else (2 if outcome > 0.99 else 1),
                state.provider,
                # In this order, so that the same numbers are drawn whatever was served.
                draw() < accuracy[kind] and served,
                draw() < labelled and served,
                draw() < 0.002,
            )
        )
    return table

"""A total that moved: which members moved it, whether only the mix did, and how fast a budget burns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypedDict

from evaluations.stats.rates import wilson_ci

# Multi-window burn limits of the Google SRE workbook (threshold registry T11): (long, short, limit, action).
BURN_RULES = [("1h", "5m", 14.4, "page"), ("6h", "30m", 6.0, "page"), ("3d", "6h", 1.0, "ticket")]


class Stratum(TypedDict):
    """One stratum of human review: N in it, n of them reviewed, k of those positive."""

    N: int
    n: int
    k: int


class MixGroup(TypedDict):
    """One group in two periods: counts n0, n1 and means m0, m1 (None where there is nothing)."""

    n0: int
    m0: float | None
    n1: int
    m1: float | None


class Attribution(TypedDict):
    """What `attribute_change` answers."""

    ep: dict[str, float | None]
    surprise: dict[str, float]
    set: list[str]


class Burn(TypedDict):
    """What `burn_rate` answers."""

    burn: dict[str, float]
    action: str


class Mix(TypedDict):
    """What `mix_decomposition` answers."""

    total: float | None
    mix: float | None
    within: float | None
    by_group: dict[str, dict[str, float]]


def stratified_rate(strata: Sequence[Stratum], conf: float = 0.95) -> dict[str, float | None]:
    """A rate from stratified review: Σ w·p with w = N/ΣN; interval by MOVER on Wilson limits per stratum.

    lo = est − √Σ(w²(p−l)²), hi = est + √Σ(w²(u−p)²) (Zou and Donner 2008), cut to [0, 1]: a plain variance would
    collapse when nothing was found. A fully reviewed stratum has no error; with one that nobody reviewed the rate is
    unknown.
    """
    used = [stratum for stratum in strata if stratum["N"] > 0]
    population = sum(stratum["N"] for stratum in used)
    unknown: dict[str, float | None] = {"est": None, "lo": None, "hi": None}
    est = below = above = 0.0
    for stratum in used:
        limits = wilson_ci(k=stratum["k"], n=stratum["n"], conf=conf)
        lo, hi = limits["lo"], limits["hi"]
        if lo is None or hi is None:
            return unknown
        weight, p = stratum["N"] / population, stratum["k"] / stratum["n"]
        est += weight * p
        if stratum["n"] < stratum["N"]:
            below += (weight * (p - lo)) ** 2
            above += (weight * (hi - p)) ** 2
    if population == 0:
        return unknown
    return {"est": est, "lo": max(0.0, est - math.sqrt(below)), "hi": min(1.0, est + math.sqrt(above))}


def burn_rate(slo: float, windows: Mapping[str, Sequence[float]]) -> Burn:
    """Error budget burn per window, (bad/total)/(1 − slo), and what the SRE workbook's multi-window rules say.

    A rule needs both of its windows strictly above its limit; without traffic nothing burns. ValueError for an
    objective of 1 or more, which leaves no budget to burn.
    """
    if slo >= 1:
        raise ValueError("an objective of 100 % has no error budget")
    burn = {name: (bad / total) / (1 - slo) if total else 0.0 for name, (bad, total) in windows.items()}
    for long, short, limit, action in BURN_RULES:
        if long in burn and short in burn and burn[long] > limit and burn[short] > limit:
            return {"burn": burn, "action": action}
    return {"burn": burn, "action": "none"}


def attribute_change(
    forecast: Mapping[str, float], actual: Mapping[str, float], t_ep: float = 0.67, t_eep: float = 0.1
) -> Attribution:
    """Which members explain the change of a total (Adtributor, Bhagwan et al., NSDI 2014; threshold registry T15).

    ep = (actual − forecast)/(total change); surprise = ½(p·log10(2p/(p+q)) + q·log10(2q/(p+q))) of the shares p of the
    forecast and q of the actual. Members with ep > t_eep are taken by surprise until they explain t_ep; else none are.
    """
    members = [*forecast, *(name for name in actual if name not in forecast)]
    total_forecast, total_actual = sum(forecast.values()), sum(actual.values())
    change = total_actual - total_forecast
    ep: dict[str, float | None] = {}
    surprise: dict[str, float] = {}
    for name in members:
        before, after = forecast.get(name, 0.0), actual.get(name, 0.0)
        ep[name] = (after - before) / change if change else None
        p = before / total_forecast if total_forecast else 0.0
        q = after / total_actual if total_actual else 0.0
        surprise[name] = 0.5 * math.fsum(share * math.log10(2 * share / (p + q)) for share in (p, q) if share > 0)
    taken: list[str] = []
    explained = 0.0
    for name in sorted(members, key=lambda member: (-surprise[member], member)):
        share = ep[name]
        if share is None or share <= t_eep:
            continue
        taken.append(name)
        explained += share
        if explained >= t_ep:
            return {"ep": ep, "surprise": surprise, "set": taken}
    return {"ep": ep, "surprise": surprise, "set": []}


def mix_decomposition(groups: Mapping[str, MixGroup]) -> Mix:
    """Split the change of an overall mean into traffic mix and change inside the groups (Kitagawa 1955).

    In both periods: mix = (w1−w0)(m0−M0), within = w1(m1−m0); only new: mix = w1(m1−M0); only old: mix = −w0(m0−M0),
    with shares w and the old overall mean M0. The parts add up to the change.
    """
    old = sum(group["n0"] for group in groups.values())
    new = sum(group["n1"] for group in groups.values())
    if old == 0 or new == 0:
        return {"total": None, "mix": None, "within": None, "by_group": {}}
    overall = math.fsum(group["n0"] * (group["m0"] or 0.0) for group in groups.values()) / old
    parts: dict[str, dict[str, float]] = {}
    for name, group in groups.items():
        w0, w1 = group["n0"] / old, group["n1"] / new
        m0, m1 = group["m0"] or 0.0, group["m1"] or 0.0
        mix = within = 0.0
        if group["n0"] and group["n1"]:
            mix, within = (w1 - w0) * (m0 - overall), w1 * (m1 - m0)
        elif group["n1"]:
            mix = w1 * (m1 - overall)
        elif group["n0"]:
            mix = -w0 * (m0 - overall)
        parts[name] = {"mix": mix, "within": within}
    mix = math.fsum(part["mix"] for part in parts.values())
    within = math.fsum(part["within"] for part in parts.values())
    return {"total": mix + within, "mix": mix, "within": within, "by_group": parts}

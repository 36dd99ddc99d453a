"""metric.compare: is it worse than before, by how much, and how sure is that?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Literal

from pydantic import AwareDatetime, Field, ValidationError, model_validator

from catalog.connectors.prometheus import Series
from catalog.signals import WINDOW, Mean, Quantile, Rate, read_compare
from runbooks.checks import comparing
from runbooks.checks.base import Check, CheckError, Context, Finding, Params
from runbooks.checks.comparing import Comparison
from runbooks.checks.durations import Duration, words
from runbooks.checks.measuring import Gauge, Window, gauge, gauge_by_name, is_troubled, signal_of, stamp, step_for
from runbooks.checks.numbers import interval, number, percent, signed, title

# Rule 7 of the checks, both numbers our own: more than a fifth missing, or the newest point two steps old.
_MISSING = 0.2
_STALE_STEPS = 2.0
_DAY = 86400.0


class MetricCompareParams(Params):
    """A signal of the service, or raw queries on a connection."""

    signal: str = ""
    connection: str = ""
    kind: Literal["", "rate", "mean", "quantile"] = ""
    query: str = Field("", json_schema_extra={"code": True})
    bad: str = Field("", json_schema_extra={"code": True})
    good: str = Field("", json_schema_extra={"code": True})
    all: str = Field("", json_schema_extra={"code": True})
    buckets: str = Field("", json_schema_extra={"code": True})
    q: float | None = Field(None, gt=0, lt=1)
    worse: Literal["", "up", "down"] = ""
    unit: str = ""
    window: Duration = 1800
    baseline: Duration = 3600
    gap: Duration = 300
    # Count only what came after this time (an action's end, in a verifying step).
    since: AwareDatetime | None = None
    yesterday: bool = True
    # Only the same hours: what a day's watch compares with, as night and peak differ.
    same_hours: bool = False
    margin: float | None = Field(None, ge=0)
    margin_share: float | None = Field(None, ge=0)
    min_n: int | None = Field(None, ge=1)
    looks: int = Field(1, ge=1, le=10_000)

    @model_validator(mode="after")
    def _one_source(self) -> MetricCompareParams:
        raw = bool(self.connection or self.kind)
        if bool(self.signal) == raw:
            raise ValueError("give either signal, or connection and kind with their queries")
        if raw and not (self.connection and self.kind):
            raise ValueError("raw queries need connection and kind")
        return self


@dataclass
class _Plan:
    """What is compared, from the signal or from raw parameters."""

    source: Gauge
    query: str
    compare: Rate | Mean | Quantile
    worse: str
    unit: str
    name: str
    step: float
    series: dict[str, list[list[float | None]]] = field(default_factory=dict)

    @property
    def better(self) -> str:
        return "lower" if self.worse == "up" else "higher"


@dataclass
class _Side:
    """What was measured in one window."""

    window: Window
    points: list[tuple[float, float]]
    expected: int
    # Counted events: those that count, and all; and the buckets of a histogram.
    part: float = 0.0
    total: float = 0.0
    buckets: dict[str, float] = field(default_factory=dict)

    @property
    def missing(self) -> float:
        """The share of points that are not there."""
        return max(0.0, 1 - len(self.points) / self.expected) if self.expected else 1.0


class MetricCompare(Check[MetricCompareParams]):
    """Is a signal worse than before, by how much, and how sure is that?

    The window runs from the onset of the incident to now, at most `window` long (`since` moves its start, for verifying
    after an action). The baseline is the `baseline` before the onset, without the last `gap` (alerts fire a little
    after trouble began), and the same hours of the last day before it where there are data; with `same_hours` only
    those, for a watch that lasts through nights and peaks. Windows inside other incidents of the service are left out.
    How it is compared is the signal's `compare`:
    a `rate` (counts of bad or good events and of all; Newcombe's interval), a `mean` of points (Welch's interval), or a
    `quantile` of histogram buckets or points (order statistics). Events are counted in steps of at least four scrapes
    (the connection's `scrape_seconds`), and only those that scrapes have seen count as evidence.

    The verdict is by statistics: **fail** only if the interval excludes zero in the bad direction *and* the change
    reaches the margin; **pass** only if a change of the margin is ruled out; otherwise **inconclusive**. Too few data
    (`too_few_samples`), no usable baseline (`no_baseline`), over 20 % missing points or a newest point older than two
    steps (`stale`) are inconclusive too. `looks` divides the error probability when a step is repeated.

    **value** is the difference now − before in the signal's unit. **samples** is the count in the window now (events,
    or points). **age** is that of the newest point. **result** keys: `now`, `before`, `diff`, `lo`, `hi`, `n_now`,
    `n_before`, `margin`, `worse`, `method`, `confidence`, `missing` (share), `windows` and `table` (one row per window
    with its own value), `series` (for the chart).
    """

    name: ClassVar[str] = "metric.compare"
    title: ClassVar[str] = "Compare with before"
    gives_verdict: ClassVar[bool] = True
    gives_samples: ClassVar[bool] = True
    gives_age: ClassVar[bool] = True
    at_past_times: ClassVar[bool] = True
    example: ClassVar[dict[str, Any]] = {"signal": "accuracy", "window": "30m", "baseline": "1h", "margin": 0.02}
    params = MetricCompareParams

    def run(self, params: MetricCompareParams, context: Context) -> Finding:
        """Measure every window, compare, and say it in one sentence."""
        now, windows = _windows(params, context)
        plan = _plan(params, context, now.seconds)
        if now.seconds < 2 * plan.step:
            return _undecided(
                plan, now, [], "too_few_samples", f"only {words(now.seconds)} have passed since the onset"
            )
        here = _measure(plan, now)
        if not here.points:
            return _undecided(plan, now, [here], "no_series", "there are no data in the window", no_data=True)
        late = now.end.timestamp() - here.points[-1][0]
        if late > _STALE_STEPS * plan.step:
            return _undecided(plan, now, [here], "stale", f"the newest value is {words(late)} old")
        if here.missing > _MISSING:
            return _undecided(plan, now, [here], "stale", f"{percent(here.missing)} of the points are missing")
        before = [_measure(plan, window) for window in windows if not is_troubled(context, window)]
        usable = [side for side in before if side.points and side.missing <= _MISSING]
        if not usable:
            return _undecided(plan, now, [here, *before], "no_baseline", "there are no undisturbed data from before")
        return _decided(plan, here, usable, before, max(params.looks, context.looks))


def _windows(params: MetricCompareParams, context: Context) -> tuple[Window, list[Window]]:
    """The window now and those it is compared with, newest first."""
    trouble = context.onset or context.moment - timedelta(seconds=params.window)
    start = max(trouble, context.moment - timedelta(seconds=params.window))
    if params.since is not None:
        start = min(max(start, params.since), context.moment)
    now = Window("now", start, context.moment)
    # Before the trouble began, not before the window: a long incident must not be its own baseline.
    end = min(trouble, start) - timedelta(seconds=params.gap)
    before = Window("before", end - timedelta(seconds=params.baseline), end)
    if now.seconds <= 0 or not (params.yesterday or params.same_hours):
        return now, [before]
    # A day into an incident, yesterday was the trouble itself: the same hours of the last day before it.
    days = max(1, math.ceil((now.end - end).total_seconds() / _DAY))
    same = now.ago(days * _DAY, "yesterday" if days == 1 else f"{days} days ago")
    return now, [same] if params.same_hours else [before, same]


def _plan(params: MetricCompareParams, context: Context, seconds: float) -> _Plan:
    if params.signal:
        signal = signal_of(context, params.signal)
        source, query, stored = gauge(context, signal.connection), signal.query, dict(signal.compare)
        worse, unit, name = params.worse or signal.worse, params.unit or signal.unit, signal.name
    else:
        source, query, name = gauge_by_name(context, params.connection), params.query, "value"
        fields = {"bad": params.bad, "good": params.good, "all": params.all, "buckets": params.buckets, "q": params.q}
        stored = {"kind": params.kind} | {key: value for key, value in fields.items() if value}
        worse, unit = params.worse or "up", params.unit
    chosen = {"margin": params.margin, "margin_share": params.margin_share, "min_n": params.min_n, "q": params.q}
    stored |= {key: value for key, value in chosen.items() if value is not None}
    try:
        compare = read_compare(stored)
    except (ValueError, ValidationError) as error:
        raise CheckError("bad_param", f"{title(name)} cannot be compared: {error}.", permanent=True) from None
    if not query and (isinstance(compare, Mean) or (isinstance(compare, Quantile) and not compare.buckets)):
        raise CheckError("bad_param", f"A {compare.kind} needs a query.", permanent=True)
    return _Plan(source, query, compare, worse, unit, name, step_for(seconds, source.config.scrape_seconds))


def _measure(plan: _Plan, window: Window) -> _Side:
    """Ask for one window. Counts are taken step by step, so that what is missing shows."""
    compare, expected = plan.compare, int(window.seconds // plan.step)
    side = _Side(window, [], expected)
    if isinstance(compare, Rate):
        _measure_rate(plan, compare, side)
    elif isinstance(compare, Quantile) and compare.buckets:
        _measure_buckets(plan, compare, side)
    else:
        start = window.end - timedelta(seconds=plan.step * (expected - 1))
        side.points = plan.source.line(plan.query, start=start, end=window.end, step=plan.step)
    plan.series[window.what] = [[at, value] for at, value in side.points]
    return side


def _counted(plan: _Plan, query: str, side: _Side) -> list[Series]:
    """A counting query at the end of every step of the window."""
    end = side.window.end
    start = end - timedelta(seconds=plan.step * (side.expected - 1))
    text = query.replace(WINDOW, f"{plan.step:.0f}s")
    found = plan.source.range(text, start=start, end=end, step=plan.step).series
    # Prometheus extrapolates from the scrapes inside a range to its ends; only what was seen may narrow an interval.
    seen = 1 - plan.source.config.scrape_seconds / plan.step
    return [replace(series, points=[(at, value * seen) for at, value in series.points]) for series in found]


def _one(series: Sequence[Series]) -> dict[float, float]:
    if len(series) > 1:
        raise CheckError("many_series", f"The query gives {len(series)} series; wrap it into sum(…).", permanent=True)
    points = series[0].points if series else []
    return {at: value for at, value in points if math.isfinite(value)}


def _measure_rate(plan: _Plan, compare: Rate, side: _Side) -> None:
    everything = _one(_counted(plan, compare.all, side))
    counted = _one(_counted(plan, compare.bad or compare.good, side))
    # The value runs the signal's way: with `worse: down` and bad events it is the share of the others.
    flip = bool(compare.bad) == (plan.worse == "down")
    for at, total in sorted(everything.items()):
        # A counter that was never raised has no series: no bad event, not an unknown number of them.
        part = min(counted.get(at, 0.0), total)
        part = total - part if flip else part
        side.part += part
        side.total += total
        if total > 0:
            side.points.append((at, part / total))
    # A step without any event is not a missing one.
    side.expected -= sum(1 for total in everything.values() if total <= 0)


def _measure_buckets(plan: _Plan, compare: Quantile, side: _Side) -> None:
    steps: dict[float, dict[str, float]] = {}
    for series in _counted(plan, compare.buckets, side):
        le = series.labels.get("le")
        if le is None or set(series.labels) - {"le", "__name__"}:
            raise CheckError("bad_query", "The buckets must come as `sum by (le) (…)`.", permanent=True)
        for at, count in series.points:
            if math.isfinite(count):
                steps.setdefault(at, {})[le] = count
                side.buckets[le] = side.buckets.get(le, 0.0) + count
    quiet = 0
    for at, counts in sorted(steps.items()):
        value = comparing.bucket_quantile(_sorted(counts), compare.q)
        quiet += value is None or math.isnan(value)
        if value is not None and math.isfinite(value):
            side.points.append((at, value))
    side.expected -= quiet
    side.total = max(side.buckets.values(), default=0.0)


def _sorted(counts: dict[str, float]) -> list[tuple[str, float]]:
    return sorted(counts.items(), key=lambda row: float(row[0]))


def _compared(plan: _Plan, here: _Side, before: list[_Side], looks: int) -> Comparison:
    compare, better = plan.compare, plan.better
    if isinstance(compare, Rate):
        return comparing.rates(
            k_now=round(here.part),
            n_now=round(here.total),
            k_before=round(sum(side.part for side in before)),
            n_before=round(sum(side.total for side in before)),
            margin=compare.margin,
            min_n=compare.min_n,
            better=better,
            looks=looks,
        )
    margin = compare.margin
    now, then = [value for _, value in here.points], [value for side in before for _, value in side.points]
    if isinstance(compare, Mean):
        if margin is None:
            margin = abs(math.fsum(then) / len(then)) * compare.margin_share
        return comparing.means(now, then, margin=margin, min_n=compare.min_n, better=better, looks=looks)
    pooled: dict[str, float] = {}
    for side in before:
        for le, count in side.buckets.items():
            pooled[le] = pooled.get(le, 0.0) + count
    fields: dict[str, Any] = {"q": compare.q, "min_n": compare.min_n, "better": better, "looks": looks}
    if compare.buckets:
        old = comparing.bucket_quantile(_sorted(pooled), compare.q) or 0.0
        margin = abs(old) * compare.margin_share if margin is None else margin
        return comparing.bucket_quantiles(_sorted(here.buckets), _sorted(pooled), margin=margin, **fields)
    if margin is None:
        margin = abs(sorted(then)[min(len(then) - 1, int(compare.q * len(then)))]) * compare.margin_share
    return comparing.point_quantiles(now, then, margin=margin, **fields)


def _decided(plan: _Plan, here: _Side, usable: list[_Side], before: list[_Side], looks: int) -> Finding:
    found = _compared(plan, here, usable, looks)
    what = title(plan.name)
    if isinstance(plan.compare, Quantile):
        what += f" (P{plan.compare.q * 100:g})"
    unit = plan.unit
    if found.diff is None:
        return _undecided(plan, here.window, [here, *before], "too_few_samples", "nothing was counted")
    # It is read now on the run's page and next week in the postmortem, so it does not say "now".
    moved = ("fell" if found.diff < 0 else "rose") if found.verdict == "fail" else "went"
    sentence = (
        f"{what} {moved} from {number(found.before, unit)} to {number(found.now, unit)}: "
        f"{signed(found.diff, unit)} {interval(found.lo, found.hi, unit)}, n = {found.n_now:,}"
    )
    reason = ""
    if found.verdict == "inconclusive":
        few = min(found.n_now, found.n_before) < plan.compare.min_n or found.lo is None or found.hi is None
        reason = "too_few_samples" if few else "within_error"
        limit = number(found.margin, unit)
        sentence += " (too little to decide)" if few else f" (a change of {limit} is neither shown nor ruled out)"
    return _finding(
        plan,
        here.window,
        [here, *before],
        value=found.diff,
        summary=sentence + ".",
        verdict=found.verdict,
        reason=reason,
        samples=found.n_now,
        result={
            "now": found.now,
            "before": found.before,
            "diff": found.diff,
            "lo": found.lo,
            "hi": found.hi,
            "n_now": found.n_now,
            "n_before": found.n_before,
            "margin": found.margin,
            "method": found.method,
            "confidence": comparing.confidence(looks),
            "statistic": {"name": "difference", "value": found.diff, "lo": found.lo, "hi": found.hi},
        },
    )


def _undecided(
    plan: _Plan, window: Window, sides: list[_Side], reason: str, why: str, *, no_data: bool = False
) -> Finding:
    """No comparison, with its reason."""
    return _finding(
        plan,
        window,
        sides,
        value=None,
        summary=f"{title(plan.name)} cannot be compared with before: {why}.",
        verdict="inconclusive",
        reason=reason,
        no_data=no_data,
        samples=len(sides[0].points) if sides else 0,
        result=dict.fromkeys(("now", "before", "diff", "lo", "hi")),
    )


def _finding(
    plan: _Plan,
    window: Window,
    sides: list[_Side],
    *,
    value: float | None,
    summary: str,
    verdict: str,
    reason: str,
    samples: int,
    result: dict[str, Any],
    no_data: bool = False,
) -> Finding:
    compare = plan.compare
    last = sides[0].points[-1][0] if sides and sides[0].points else None
    queries = [compare.bad or compare.good, compare.all] if isinstance(compare, Rate) else [plan.query]
    if isinstance(compare, Quantile) and compare.buckets:
        queries = [compare.buckets]
    margin = result.get("margin", compare.margin)
    threshold = {"value": margin, "source": "runbook or service file; the default is our own (T2, T12)"}
    if margin is not None:
        # Where the value is a problem from on.
        threshold["line"] = margin if plan.worse == "up" else -margin
    return Finding(
        value=value,
        summary=summary,
        verdict=verdict,
        reason=reason,
        no_data=no_data,
        samples=samples,
        observed_at=datetime.fromtimestamp(last, UTC) if last is not None else None,
        query="\n".join(queries).replace(WINDOW, f"{plan.step:.0f}s"),
        window_from=window.start,
        window_to=window.end,
        unit=plan.unit,
        source=plan.source.connection.slug,
        threshold=threshold,
        result=result
        | {
            "worse": plan.worse,
            "missing": sides[0].missing if sides else None,
            "windows": [[side.window.what, stamp(side.window.start), stamp(side.window.end)] for side in sides],
            "table": [_row(plan, side) for side in sides],
            "series": plan.series,
        },
    )


def _row(plan: _Plan, side: _Side) -> dict[str, Any]:
    values = [value for _, value in side.points]
    own: float | None = math.fsum(values) / len(values) if values else None
    if isinstance(plan.compare, Rate):
        own = side.part / side.total if side.total else None
    elif isinstance(plan.compare, Quantile) and side.buckets:
        own = comparing.bucket_quantile(_sorted(side.buckets), plan.compare.q)
    return {
        "window": side.window.what,
        "from": stamp(side.window.start),
        "to": stamp(side.window.end),
        "value": own,
        "n": round(side.total) or len(side.points),
        "missing": round(side.missing, 3),
    }

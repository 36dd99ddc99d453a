"""metric.query: one number, now."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from catalog.connectors.prometheus import Range, Sample
from runbooks.checks.base import Check, CheckError, Context, Finding, Params
from runbooks.checks.durations import Duration, words
from runbooks.checks.measuring import Gauge, gauge, gauge_by_name, signal_of, step_for
from runbooks.checks.numbers import number, title

# An hour second by second: far less than Prometheus gives at once.
CLOSE_POINTS = 3600


class MetricQueryParams(Params):
    """A signal of the service, or a raw query on a connection."""

    signal: str = ""
    connection: str = ""
    query: str = Field("", json_schema_extra={"code": True})
    # What the chart shows, and how far back a vanished series is looked for.
    window: Duration = 3600
    # What to make of several series: refuse (`only`), or reduce them to one number.
    reduce: Literal["only", "max", "min", "sum", "mean"] = "only"
    unit: str = ""

    @model_validator(mode="after")
    def _one_source(self) -> MetricQueryParams:
        if bool(self.signal) == bool(self.query):
            raise ValueError("give either signal, or connection and query")
        if self.query and not self.connection:
            raise ValueError("a query needs its connection")
        return self


class MetricQuery(Check[MetricQueryParams]):
    """One number, now, from a named signal of the service or from a raw query.

    **value** is the number; `pass_if` and `fail_if` compare it. **samples** is how many points the last `window` holds.
    **age** is the time since the newest point that the query gave. It gives no verdict: write `pass_if` or `fail_if`.

    No number has four different reasons, none of which is ever zero or "fine": `no_series` (nothing under that name in
    the whole window), `stale` (there were values in the window, but there is none now), `not_a_number` (NaN or
    infinite), each of which follows `no_data:`; and an error, such as `bad_query`, `auth`, `timeout` or `unreachable`.
    Several series are an error (`many_series`) unless `reduce` says how to make one number of them.

    **result** keys: `series` (`{name: [[unix, value], …]}` of the last window, for the chart), `value`, `raw` (as
    written by the source), `count` (how many series now), `last_at` (ISO time of the newest point), `labels` of a
    single series, `warnings` of the source.
    """

    name: ClassVar[str] = "metric.query"
    title: ClassVar[str] = "Measure one number"
    gives_samples: ClassVar[bool] = True
    gives_age: ClassVar[bool] = True
    at_past_times: ClassVar[bool] = True
    example: ClassVar[dict[str, Any]] = {"signal": "error_rate", "window": "1h"}
    params = MetricQueryParams

    def run(self, params: MetricQueryParams, context: Context) -> Finding:
        """Ask for the number now, and for the window as a chart."""
        source, query, unit, name = _source(params, context)
        now = source.instant(query, at=context.moment)
        start = context.moment - timedelta(seconds=params.window)
        chart = source.range(query, start=start, end=context.moment, step=step_for(params.window))
        if now.state == "empty" and not chart.series:
            # What lived between two points of the chart only was there all the same: look closely, once.
            closely = max(1.0, params.window / CLOSE_POINTS)
            chart = source.range(query, start=start, end=context.moment, step=closely)
        finding = _Facts(source, query, unit, name, params.window, chart, context)
        if now.state == "empty":
            return finding.nothing()
        if len(now.samples) > 1 and params.reduce == "only":
            raise CheckError(
                "many_series",
                f"The query gives {len(now.samples)} series; wrap it into sum(…), or say `reduce`.",
                permanent=True,
            )
        return finding.number(_reduced(now.samples, params.reduce), now.samples, now.warnings)


class _Facts:
    """What every outcome of this check tells in the same way."""

    def __init__(
        self, source: Gauge, query: str, unit: str, name: str, window: float, chart: Range, context: Context
    ) -> None:
        self.source, self.query, self.unit, self.name = source, query, unit, name
        self.window, self.chart, self.context = window, chart, context
        self.points = [point for series in chart.series for point in series.points]
        last = max((at for at, _ in self.points), default=None)
        self.last_at = datetime.fromtimestamp(last, UTC) if last is not None else None

    def number(self, value: float, samples: list[Sample], warnings: list[str]) -> Finding:
        """A number was given, if it is one."""
        finite = math.isfinite(value)
        about = f"{title(self.name)} is {number(value, self.unit)}"
        summary = f"{about}." if finite else f"{about}, which is no measurement (a division by zero, for example)."
        return self._finding(
            value=value,
            summary=summary,
            reason="" if finite else "not_a_number",
            # The newest point of the chart may be up to one step old; the number itself is of now.
            observed_at=max(sample.at for sample in samples),
            result={
                "value": value if finite else None,
                "raw": f"{value:g}" if finite else str(value),
                "count": len(samples),
                "labels": samples[0].labels if len(samples) == 1 else {},
                "warnings": warnings,
            },
        )

    def nothing(self) -> Finding:
        """No series now: never seen in the window, or gone."""
        if self.last_at is None:
            reason = "no_series"
            summary = f"{title(self.name)} has no series: nothing matched in the last {words(self.window)}."
        else:
            age = (self.context.moment - self.last_at).total_seconds()
            reason = "stale"
            summary = f"{title(self.name)} has no value now; the last one is {words(max(0, age))} old."
        return self._finding(
            value=None,
            summary=summary,
            reason=reason,
            observed_at=self.last_at,
            result={"value": None, "raw": "", "count": 0, "labels": {}, "warnings": self.chart.warnings},
        )

    def _finding(
        self, *, value: float | None, summary: str, reason: str, observed_at: datetime | None, result: dict[str, Any]
    ) -> Finding:
        series = {
            row.name: [[at, number if math.isfinite(number) else None] for at, number in row.points]
            for row in self.chart.series[:10]
        }
        last = self.last_at.isoformat() if self.last_at else None
        return Finding(
            value=value,
            summary=summary,
            reason=reason,
            no_data=bool(reason),
            samples=len(self.points),
            observed_at=observed_at,
            query=self.query,
            window_from=self.context.moment - timedelta(seconds=self.window),
            window_to=self.context.moment,
            unit=self.unit,
            source=self.source.connection.slug,
            result=result | {"series": series, "last_at": last},
        )


def _source(params: MetricQueryParams, context: Context) -> tuple[Gauge, str, str, str]:
    """Where to ask, what, in which unit, under which name."""
    if params.query:
        return gauge_by_name(context, params.connection), params.query, params.unit, "value"
    signal = signal_of(context, params.signal)
    return gauge(context, signal.connection), signal.query, params.unit or signal.unit, signal.name


def _reduced(samples: list[Sample], how: str) -> float:
    values = [sample.value for sample in samples]
    if any(math.isnan(value) for value in values):
        return math.nan
    if how == "min":
        return min(values)
    if how in ("max", "only"):
        return max(values)
    total = math.fsum(values) if all(math.isfinite(value) for value in values) else sum(values)
    return total / len(values) if how == "mean" else total

"""How a signal's two windows are compared: as a rate of events, as a mean of points, or as a quantile.

The word `$window` in a query stands for one step of the comparison (for example `60s`), so that the query counts the
events of that step: `sum(increase(requests_total{code=~"5.."}[$window]))`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

WINDOW = "$window"


class _Compare(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Rate(_Compare):
    """A share of events. Give the events that went wrong (`bad`) or right (`good`), and `all` of them.

    The compared value runs the way of the signal: with `worse: down` and `bad`, it is 1 − bad/all.
    """

    kind: Literal["rate"]
    bad: str = ""
    good: str = ""
    all: str
    # T2: a quality margin of 0.02 and at least 100 observations a side.
    margin: float = Field(0.02, ge=0, le=1)
    min_n: int = Field(100, ge=1)

    @model_validator(mode="after")
    def _one_part(self) -> Rate:
        if bool(self.bad) == bool(self.good):
            raise ValueError("a rate needs either bad or good, and all")
        _needs_window(self.bad or self.good, self.all)
        return self


class Mean(_Compare):
    """The mean of the signal's own query over time. The margin is absolute, or a share of the baseline's mean."""

    kind: Literal["mean"]
    margin: float | None = Field(None, ge=0)
    # T12's 20 %, our own number, for want of an absolute margin.
    margin_share: float = Field(0.2, ge=0)
    min_n: int = Field(10, ge=3)


class Quantile(_Compare):
    """A quantile, from histogram buckets by `le` (they hold every request) or from the points of the signal's query."""

    kind: Literal["quantile"]
    q: float = Field(0.95, gt=0, lt=1)
    buckets: str = ""
    margin: float | None = Field(None, ge=0)
    # T12: P95 up by 20 %.
    margin_share: float = Field(0.2, ge=0)
    min_n: int = Field(72, ge=1)

    @model_validator(mode="after")
    def _counts(self) -> Quantile:
        if self.buckets:
            _needs_window(self.buckets)
        return self


Compare = Annotated[Rate | Mean | Quantile, Field(discriminator="kind")]
_adapter: TypeAdapter[Rate | Mean | Quantile] = TypeAdapter(Compare)


def read_compare(stored: dict[str, Any]) -> Rate | Mean | Quantile:
    """The comparison that a signal's row holds; an empty one compares means. ValueError in one sentence."""
    try:
        return _adapter.validate_python(stored or {"kind": "mean"})
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from None


def _needs_window(*queries: str) -> None:
    for query in queries:
        if WINDOW not in query:
            raise ValueError(f"the query must count the events of one step: write [{WINDOW}] as its range")

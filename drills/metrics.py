"""Counters on a grid of scrapes, summed from the request table, and gauges that are functions of time.

Samples lie 15 s apart on the wall clock, as from a Prometheus that scrapes every 15 s. A sample is there once its
interval has ended; sample number i is taken at `origin + i * STEP`.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate, islice

from drills.scenario import MODEL, SERVICE
from drills.traffic import Request

STEP = 15.0
BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 10.0)
COMPONENTS = ("gateway", "retriever", "llm", "total")
Labels = tuple[tuple[str, str], ...]
HELP: dict[str, tuple[str, str]] = {
    "ml_requests_total": ("counter", "Requests answered, by tenant, slice (query type), version, node and code."),
    "ml_request_duration_seconds": ("histogram", "Seconds per request, by component; `total` is the whole request."),
    "ml_tokens_total": ("counter", "Tokens, by tenant and direction."),
    "ml_cost_usd_total": ("counter", "What the upstream model cost, in US dollars."),
    "ml_upstream_attempts_total": ("counter", "Calls of the provider, retries included."),
    "ml_safety_flags_total": ("counter", "Answers that the safety classifier flagged."),
    "ml_labels_total": ("counter", "Answers that people have labelled right or wrong."),
    "ml_eval_score": ("gauge", "Share of right answers on the evaluation set, by version and slice."),
    "ml_feature_null_ratio": ("gauge", "Share of missing values, by feature and tenant."),
    "ml_gpu_memory_ratio": ("gauge", "Used share of GPU memory, by node."),
    "ml_build_info": ("gauge", "1 for the version that serves."),
    "up": ("gauge", "1 while the service can be scraped."),
}


# Two tracks are never equal, so that looking one up costs no comparison of labels.
@dataclass(eq=False, slots=True)
class Track:
    """One series: its labels (with __name__) and the value of every sample from number `first` on."""

    labels: Labels
    first: int
    values: array[float]
    gauge: Callable[[int], float | None] | None = None

    def sample(self, number: int) -> float | None:
        """The value of that sample; None before the series began. The caller knows which samples exist by now."""
        if self.gauge is not None:
            return self.gauge(number)
        place = number - self.first
        return self.values[place] if 0 <= place < len(self.values) else None


def labels_of(name: str, **labels: str) -> Labels:
    """Sorted labels of a series of this service."""
    return tuple(sorted({"__name__": name, "service": SERVICE, **labels}.items()))


class _Sample:
    """What happened in one scrape interval that is still open."""

    __slots__ = ("amounts", "seconds", "times")

    def __init__(self) -> None:
        self.amounts: dict[Track, float] = {}
        self.times = [[0] * (len(BUCKETS) + 1) for _ in COMPONENTS]
        self.seconds = [0.0] * len(COMPONENTS)


class Counters:
    """All counters of the world: requests go in by the sample they belong to, closed samples come out."""

    def __init__(self, first: int) -> None:
        # Number of the last closed sample.
        self.closed = first
        # What gauges have for values: they are computed.
        self.empty = array("d")
        self._running: dict[Track, float] = {}
        self._open: dict[int, _Sample] = {}
        self._made: dict[tuple[str, ...], Track] = {}
        edges = [*(f"{edge:g}" for edge in BUCKETS), "+Inf"]
        name = "ml_request_duration_seconds"
        self._buckets = [
            [self._new(f"{name}_bucket", component=component, le=edge) for edge in edges] for component in COMPONENTS
        ]
        self._sums = [self._new(f"{name}_sum", component=component) for component in COMPONENTS]
        self._counts = [self._new(f"{name}_count", component=component) for component in COMPONENTS]

    def _new(self, name: str, **labels: str) -> Track:
        return Track(labels_of(name, **labels), 0, array("d"))

    def _track(self, key: tuple[str, ...], names: tuple[str, ...]) -> Track:
        """The series of that name (first of `key`) and label values."""
        found = self._made.get(key)
        if found is None:
            found = self._made[key] = self._new(key[0], **dict(zip(names, key[1:], strict=True)))
        return found

    def add(self, number: int, request: Request) -> None:
        """Count a request into the sample that is taken after it."""
        sample = self._open.get(number)
        if sample is None:
            sample = self._open[number] = _Sample()
        r, amounts, track = request, sample.amounts, self._track
        counted = [
            (track(("ml_requests_total", r.tenant, r.query_type, r.version, r.node, r.code), _REQUEST), 1.0),
            (track(("ml_tokens_total", r.tenant, "input"), _TOKENS), r.tokens_in),
            (track(("ml_tokens_total", r.tenant, "output"), _TOKENS), r.tokens_out),
            (track(("ml_cost_usd_total", r.tenant, MODEL), _COST), r.cost),
            (track(("ml_upstream_attempts_total", r.provider, r.code), _ATTEMPTS), r.attempts),
        ]
        if r.flagged:
            counted.append((track(("ml_safety_flags_total", "self-harm", r.version), _FLAGS), 1.0))
        if r.labelled:
            outcome = "correct" if r.correct else "wrong"
            counted.append((track(("ml_labels_total", r.query_type, r.version, outcome), _LABELLED), 1.0))
        for series, amount in counted:
            amounts[series] = amounts.get(series, 0.0) + amount
        total = r.gateway + r.retriever + r.llm
        for place, seconds in enumerate((r.gateway, r.retriever, r.llm, total)):
            sample.times[place][bisect_left(BUCKETS, seconds)] += 1
            sample.seconds[place] += seconds

    def close(self, until: int) -> None:
        """Take all samples up to that number; nothing may be added to them afterwards."""
        count = until - self.closed
        if count <= 0:
            return
        grown: dict[Track, list[float]] = {}
        begins: dict[Track, int] = {}
        for place in range(count):
            sample = self._open.pop(self.closed + 1 + place, None)
            for track, amount in self._amounts(sample) if sample else ():
                row = grown.get(track)
                if row is None:
                    row = grown[track] = [0.0] * count
                    begins[track] = place
                row[place] += amount
        for track in begins.keys() - self._running.keys():
            # A counter starts at zero one scrape before its first event, so that rate() sees the event.
            track.first = self.closed + begins[track]
            track.values.append(0.0)
            self._running[track] = 0.0
        # Whole rows at once: taking twelve hours sample by sample was half of the start.
        for track, total in self._running.items():
            row = grown.get(track)
            if row is None:
                track.values.extend([total] * count)
            elif len(track.values) == 1 and track.first >= self.closed:
                track.values.extend(accumulate(row[track.first - self.closed :]))
            else:
                track.values.extend(islice(accumulate(row, initial=total), 1, None))
        self._running = {track: track.values[-1] for track in self._running}
        self.closed = until

    def _amounts(self, sample: _Sample) -> Iterator[tuple[Track, float]]:
        yield from sample.amounts.items()
        for place, times in enumerate(sample.times):
            yield from zip(self._buckets[place], accumulate(times), strict=True)
            yield self._sums[place], sample.seconds[place]
            yield self._counts[place], sum(times)

    def tracks(self) -> list[Track]:
        """All series that have begun, unordered."""
        return list(self._running)


_REQUEST = ("tenant", "slice", "version", "node", "code")
_TOKENS = ("tenant", "direction")
_COST = ("tenant", "model")
_ATTEMPTS = ("provider", "code")
_FLAGS = ("category", "version")
_LABELLED = ("slice", "version", "outcome")

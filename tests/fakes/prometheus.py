"""A Prometheus on loopback that answers canned results by query: numbers, series, nothing, NaN, errors, silence."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.web import Asked, Reply, Web, serve

# The value of a series at a unix time; None where it has none.
At = Callable[[float], float | str | None]


@dataclass
class Answers:
    """What each query gives: a list of (labels, value over time), or a Reply of its own."""

    queries: dict[str, list[tuple[dict[str, str], At]] | Reply] = field(default_factory=dict)

    def number(self, query: str, value: float | str) -> None:
        """One series that always has this value (`"NaN"` and `"+Inf"` are values too)."""
        self.queries[query] = [({}, lambda at: value)]

    def line(self, query: str, value: At, **labels: str) -> None:
        """One series that follows a function of time."""
        self.queries[query] = [(labels, value)]

    def add(self, query: str, value: At, **labels: str) -> None:
        """One more series under the same query."""
        rows = self.queries.setdefault(query, [])
        assert isinstance(rows, list)
        rows.append((labels, value))

    def fault(self, query: str, status: int, kind: str, words: str, **headers: str) -> None:
        """An error in Prometheus' own form."""
        body = json.dumps({"status": "error", "errorType": kind, "error": words}).encode()
        self.queries[query] = Reply(body, status, headers)

    def reply(self, asked: Asked) -> Reply:
        """The answer to one request; an unknown query is an empty result, as from Prometheus."""
        query = asked.form.get("query", "")
        rows = self.queries.get(query, [({}, lambda at: 1.0)] if query == "vector(1)" else [])
        if isinstance(rows, Reply):
            return rows
        if asked.path == "/api/v1/query":
            at = float(asked.form["time"])
            found = [
                {"metric": labels, "value": [at, str(value(at))]} for labels, value in rows if value(at) is not None
            ]
            return _success("vector", found)
        if asked.path == "/api/v1/query_range":
            start, end, step = (float(asked.form[name]) for name in ("start", "end", "step"))
            times = [start + index * step for index in range(int((end - start) // step) + 1)]
            series = []
            for labels, value in rows:
                values = [[at, str(value(at))] for at in times if value(at) is not None]
                if values:
                    series.append({"metric": labels, "values": values})
            return _success("matrix", series)
        return Reply(b"404 page not found", 404)


class Fake:
    """The running fake: its address, its answers, what it was asked."""

    def __init__(self, web: Web, answers: Answers) -> None:
        self.web, self.answers = web, answers
        self.url = web.url


@contextmanager
def fake_prometheus() -> Iterator[Fake]:
    """Serve until the block ends."""
    answers = Answers()
    with serve(answers.reply) as web:
        yield Fake(web, answers)


def _success(kind: str, result: list[dict[str, Any]]) -> Reply:
    return Reply(json.dumps({"status": "success", "data": {"resultType": kind, "result": result}}).encode())

"""Builders for evaluation sets, evaluations and a simulated service on loopback."""

from __future__ import annotations

from typing import Any

from catalog.actors import ENGINE
from catalog.models import Service, Team
from common import clock
from drills.world import World
from evaluations import jobs, sets
from evaluations.models import Evaluation, EvaluationSet, Score
from tests.factories import make_connection, make_service, make_team

# A fixed moment of the world, for everything that does not need the present.
START = 1_795_000_000.0


class Hand:
    """A world's clock that a test moves."""

    def __init__(self, at: float = START) -> None:
        self.at = at

    def __call__(self) -> float:
        return self.at

    def forward(self, minutes: float) -> float:
        self.at += minutes * 60
        return self.at


def make_world(cause: str = "none", size: float = 1.0, seed: int = 7, **options: Any) -> tuple[World, Hand]:
    """A simulated service whose clock stands still until the test moves it."""
    hand = Hand()
    settings: dict[str, Any] = {"clock": hand, "history": 180}
    return World(cause, size, seed, **settings | options), hand


def make_set(team: Team | None = None, text: str = "", slug: str = "golden", items: int = 3) -> EvaluationSet:
    """An evaluation set from JSONL, or of a few trivial cases."""
    lines = "\n".join(f'{{"item": "i{n}", "input": "{n}", "expected": "{n}"}}' for n in range(items))
    return sets.load(team or make_team(), slug=slug, text=text or lines, actor=ENGINE).evaluation_set


def make_job(team: Team, url: str, *, version: str = "v42", text: str = "", key: str = "") -> Evaluation:
    """An evaluation that waits for a worker, of a version that answers at that address."""
    service = make_service(team)
    return jobs.ask(
        key=key or f"key-{version}",
        evaluation_set=make_set(team, text=text),
        service=service,
        connection=make_connection(team, slug=f"model-{service.slug}", connector="http_json", url=url),
        path="/v1/predict",
        version=version,
        now=clock.now(),
    )


def make_evaluation(
    scores: dict[str, float],
    *,
    version: str = "v42",
    attributes: dict[str, dict[str, str]] | None = None,
    key: str = "",
) -> Evaluation:
    """A finished evaluation with those scores by item."""
    service: Service = make_service()
    connection = make_connection(service.team, connector="http_json")
    found = Evaluation.objects.create(
        key=key or f"test-{service.slug}",
        evaluation_set=make_set(service.team),
        service=service,
        connection=connection,
        path="/v1/predict",
        version=version,
        state="done",
        created_at=clock.now(),
    )
    Score.objects.bulk_create(
        Score(evaluation=found, item=item, score=score, attributes=(attributes or {}).get(item, {}))
        for item, score in scores.items()
    )
    return found

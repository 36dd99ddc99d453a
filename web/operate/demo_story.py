"""One finished incident for the demo, told through the same verbs as a real one, on yesterday's clock."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from catalog.actors import ENGINE, Actor, person
from catalog.models import Service, User
from common import clock
from incidents import action_items, evidence, lifecycle, timeline
from incidents.models import Evidence, Incident
from web.operate import demo_postmortem


class _Clock:
    """A clock that the story moves."""

    def __init__(self, time: datetime) -> None:
        self.time = time

    def __call__(self) -> datetime:
        self.time += timedelta(milliseconds=20)
        return self.time

    def forward(self, minutes: float) -> datetime:
        self.time += timedelta(minutes=minutes)
        return self.time


def tell(service: Service, user: User) -> Incident:
    """A latency spike of yesterday, with its checks, its answer, its postmortem and its action items."""
    told = _Clock(clock.now().replace(hour=14, minute=9, second=0, microsecond=0) - timedelta(days=1))
    who = person(user, "on-call")
    with clock.replaced(told):
        began = told.time - timedelta(minutes=7)
        incident = lifecycle.declare(
            team=service.team,
            service=service,
            title="95th percentile latency of rag-chat rose",
            summary="Answers took more than twice as long as usual.",
            incident_type="latency_spike",
            severity=2,
            actor=ENGINE,
            started_at=began,
            is_drill=True,
        )
        told.forward(2)
        lifecycle.acknowledge(incident, actor=who)
        told.forward(1)
        _checks(incident, told)
        told.forward(4)
        lifecycle.add_note(incident, text="The provider's status page says *degraded performance* too.", actor=who)
        told.forward(19)
        lifecycle.mitigate(incident, actor=who, note="The provider recovered; latency is back within its band.")
        told.forward(20)
        _check(
            incident,
            told,
            "Is latency back?",
            phase="verify",
            verdict="pass",
            provider="metric.compare",
            summary="Latency (P95) went from 1.7 s to 1.7 s: 0 s [−0.1, +0.1], n = 1,640.",
            value=0.0,
            unit="s",
            samples=1640,
        )
        told.forward(40)
        lifecycle.resolve(incident, actor=who, note="Stable for an hour.")
        told.forward(30)
        incident.refresh_from_db()
        demo_postmortem.finish(incident, actor=who, forward=told.forward)
        for item in incident.action_items.filter(state="proposed"):
            action_items.commit(item, actor=who)
    incident.refresh_from_db()
    return incident


def _checks(incident: Incident, told: _Clock) -> None:
    """What a run would have found: each with its number, its window and its query."""
    _check(
        incident,
        told,
        "Did the 95th percentile of latency rise?",
        verdict="fail",
        provider="metric.compare",
        summary="Latency (P95) rose from 1.7 s to 4.1 s: +2.4 s [+2.1, +2.7], n = 1,812.",
        value=2.4,
        unit="s",
        samples=1812,
        query='sum by (le) (increase(ml_request_duration_seconds_bucket{component="total"}[60s]))',
        threshold={"value": 0.34, "source": "20 % of the baseline (ours)"},
    )
    _check(
        incident,
        told,
        "Was anything of ours changed shortly before?",
        verdict="pass",
        provider="change.rank",
        summary="No change was recorded in the 72 h before the onset.",
        value=0.0,
        samples=0,
    )
    row = _check(
        incident,
        told,
        "Is the provider degraded?",
        verdict="fail",
        provider="status.poll",
        summary="The provider's status page says minor: Chat completions degraded since 14:05 UTC.",
        value="minor",
        source="status page",
    )
    ranked = {
        "id": "upstream",
        "title": "The upstream model provider is slow",
        "confidence": 0.94,
        "coverage": 1.0,
        "score": 4,
        "lines": [{"step": "upstream_status", "verdict": "fail", "points": 4, "evidence": row.key}],
        "not_checked": [],
    }
    timeline.record(
        incident,
        kind="diagnosis",
        actor=ENGINE,
        text=f"Likely cause: The upstream model provider is slow (score +4; for it: {row.key}).",
        evidence=[row],
        pinned=True,
        data={"top": "upstream", "title": ranked["title"], "confidence": 0.94, "ranked": [ranked]},
    )


def _check(incident: Incident, told: _Clock, question: str, *, phase: str = "measure", **fields: Any) -> Evidence:
    now = told.forward(0.5)
    row = evidence.store(
        incident=incident,
        kind="check",
        step="demo",
        observed_at=now,
        window_from=now - timedelta(minutes=15),
        window_to=now,
        **({"source": "demo-prometheus"} | fields),
    )
    word = "Problem found" if fields["verdict"] == "fail" else "Ruled out"
    actor: Actor = ENGINE
    timeline.record(
        incident,
        kind="check",
        actor=actor,
        text=f"{question} {word}: {fields['summary']}",
        evidence=[row],
        pinned=fields["verdict"] == "fail",
        data={"step": "demo", "verdict": fields["verdict"], "phase": phase},
    )
    return row

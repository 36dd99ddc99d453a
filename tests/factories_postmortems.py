"""Builders for postmortems and messages: an incident with a whole timeline, addresses of people and teams."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta
from typing import Any

from catalog.actors import ALERT, ENGINE, Actor, person
from catalog.models import Address, Team, User
from common import clock
from common.secrets import encrypt
from incidents import evidence, timeline
from incidents.channels import channel_for
from incidents.models import Evidence, Incident
from incidents.postmortem_facts import WORDS
from tests.factories import make_incident, make_service, make_team, make_user

_numbers = itertools.count(1)


def make_address(url: str, *, user: User | None = None, team: Team | None = None, label: str = "phone") -> Address:
    """An address of a person or a team."""
    return Address.objects.create(
        user=user,
        team=team,
        label=label,
        channel=channel_for(url).name,
        url_encrypted=encrypt(url.encode()),
        url_hint="hint",
        created_at=clock.now(),
    )


def make_check(
    incident: Incident, summary: str, *, verdict: str = "fail", phase: str = "measure", **fields: Any
) -> Evidence:
    """Evidence of a check, with the timeline entry that a run writes of it."""
    defaults: dict[str, Any] = {"provider": "metric.query", "step": f"step_{next(_numbers)}", "query": "up"}
    row = evidence.store(incident=incident, kind="check", summary=summary, verdict=verdict, **(defaults | fields))
    word = WORDS[row.verdict]
    text = f"What does {row.step} say? {word}: {summary}"
    data = {"step": row.step, "verdict": row.verdict, "phase": phase}
    timeline.record(incident, kind="check", actor=ENGINE, text=text, evidence=[row], data=data)
    return row


class Story:
    """A finished incident of a model version that lost accuracy, as the engine and people tell it."""

    def __init__(self, team: Team | None = None, **fields: Any) -> None:
        self.team = team or make_team()
        self.user = make_user(f"dana-{next(_numbers)}", team=self.team)
        self.user.full_name = "Dana Doe"
        self.user.save()
        self.actor: Actor = person(self.user, "on-call")
        self.service = make_service(self.team, default_owner=self.user)
        now = clock.now()
        defaults: dict[str, Any] = {
            "title": "Accuracy of `rag` fell [E99] <b>",
            "incident_type": "accuracy_drop",
            "severity": 2,
            "started_at": now - timedelta(minutes=9),
            "detected_at": now,
        }
        self.incident = make_incident(self.team, self.service, **(defaults | fields))
        self.deployed = self.incident.started_at - timedelta(minutes=12)
        self._tell(now)

    def _tell(self, now: datetime) -> None:
        incident = self.incident
        timeline.record(incident, kind="alert", actor=ALERT, text="Alert AccuracyLow fired: 0.78. Limit 0.88.", at=now)
        self._state("open", "acknowledged", 2)
        self.effect = make_check(
            incident,
            "Accuracy fell from 0.91 to 0.78: −0.13 [−0.16, −0.1], n = 900.",
            provider="metric.compare",
            params={"signal": "accuracy"},
        )
        self.change = make_check(
            incident,
            "Deploy v43, 12 min before the onset, is the only recorded change: 66 %; something unrecorded: 30 %.",
            provider="change.rank",
            result={"top": {"id": "c1", "change": "Deploy v43", "kind": "model", "at": self.deployed.isoformat()}},
        )
        self.versions = make_check(
            incident,
            "v43 scores 0.79 where v42 scored 0.9: −0.11 [−0.14, −0.07], n = 300; worse on language=en.",
            provider="eval.compare",
            source="golden",
            result={"old_version": "v42", "new_version": "v43", "regressed": ["language=en"]},
        )
        self.quiet = make_check(incident, "Latency stayed at 210 ms.", verdict="pass")
        self.open = make_check(incident, "No labels in the last hour.", verdict="inconclusive", step="labels")
        timeline.record(
            incident,
            kind="diagnosis",
            actor=ENGINE,
            text="Likely cause: Bad model version v43 (score +4; for it: E1, E2).",
            data={
                "top": "model_regression",
                "confidence": 0.92,
                "ranked": [
                    {
                        "id": "model_regression",
                        "title": "Bad model version v43",
                        "confidence": 0.92,
                        "coverage": 0.8,
                        "score": 4,
                        "lines": [
                            {"step": "a", "verdict": "fail", "points": 3, "evidence": self.effect.number},
                            {"step": "b", "verdict": "fail", "points": 2, "evidence": f"E{self.change.number}"},
                            {"step": "c", "verdict": "pass", "points": -1, "evidence": self.quiet.number},
                            {"step": "d", "verdict": "inconclusive", "points": 0, "evidence": None},
                        ],
                    }
                ],
            },
        )
        timeline.record(
            incident, kind="note", actor=self.actor, text="Dana Doe says: I should have looked. Many users saw “it”."
        )
        asked = {"step": "roll_back"}
        timeline.record(incident, kind="approval", actor=ENGINE, text="Proposed: Roll back v43 → v42.", data=asked)
        data = asked | {"override": "own request"}
        text = "Dana Doe approved the rollback. «We should have looked, obviously.»"
        timeline.record(incident, kind="approval", actor=self.actor, text=text, data=data)
        timeline.record(
            incident,
            kind="effect",
            actor=ENGINE,
            text="Rolled back the model from v43 to v42. It took 6 min 52 s from approval.",
            at=now + timedelta(minutes=40),
            data=asked
            | {
                "provider": "model.rollback",
                "seconds": 412,
                "before": {"flag": "chat-model", "value": "v43"},
                "after": {"flag": "chat-model", "value": "v42"},
            },
        )
        self.back = make_check(
            incident,
            "Accuracy went from 0.91 to 0.9: −0.01 [−0.03, +0.01], n = 700.",
            verdict="pass",
            phase="verify",
            provider="metric.compare",
            params={"signal": "accuracy"},
        )
        self._state("acknowledged", "mitigated", 41)
        self._state("mitigated", "resolved", 55)

    def _state(self, before: str, after: str, minutes: int) -> None:
        at = self.incident.detected_at + timedelta(minutes=minutes)
        setattr(self.incident, f"{after}_at", at)
        self.incident.state = after
        self.incident.save(update_fields=["state", f"{after}_at"])
        text = f"Dana Doe moved {self.incident.key} to {after}."
        timeline.record(
            self.incident, kind="state", actor=self.actor, text=text, at=at, data={"from": before, "to": after}
        )

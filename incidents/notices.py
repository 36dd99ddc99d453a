"""Who is told what: one message per address and state change, written to the outbox in the caller's transaction."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet

from catalog.actors import ENGINE, Actor
from catalog.models import Address, Team, User
from common import clock
from common.background import enqueue
from common.secrets import redact
from incidents import tasks, texts, timeline
from incidents.models import Evidence, Incident, Message
from incidents.outbox import deliver, due
from incidents.postmortem_facts import SIGNALS

__all__ = ["KINDS", "body", "deliver", "due", "link_of", "subject", "tell"]

# Every kind of message; each has a template templates/notices/<kind>.txt.
KINDS = {
    "opened": "an incident was opened",
    "waits_for_you": "an action waits for approval, or a step for an answer",
    "approval_half": "half of an approval's time is over",
    "approval_expired": "an approval ran out; nothing was applied",
    "run_ended": "a runbook came to its end",
    "engine_down": "nothing runs: no worker gives a sign of life",
    "postmortem_24": "a postmortem's clock has run 24 hours",
    "postmortem_44": "a postmortem is due in four hours",
    "postmortem_48": "a postmortem is overdue",
    "break_glass": "somebody approved alone, in an emergency",
    "action_item_due": "an action item is due or overdue",
}
SUBJECT_LENGTH = 160


def tell(
    *,
    team: Team,
    kind: str,
    key: str,
    subject: str,
    body: str,
    link: str,
    incident: Incident | None = None,
    users: Iterable[User] = (),
    to_team: bool = True,
    actor: Actor = ENGINE,
) -> list[Message]:
    """Tell people of one state change, once: every address of the users and (`to_team`) of the team.

    `key` names the state change (`approval:<uuid>`); calling again with it sends nothing new, except to addresses added
    since. `link` is a path of ours or a whole address. Writes one timeline entry that names who is told by label, or
    that nobody could be told. Gives the messages of this key that were made or already there.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown message kind {kind!r}")
    with transaction.atomic():
        made: list[Message] = []
        found: list[Message] = []
        words = _Words(team, incident, kind, redact(subject)[:300], redact(body), link_of(link))
        for address, recipient in _addresses(team if to_team else None, users):
            message, new = words.put(key, str(address.pk), recipient, address)
            found.append(message)
            if new:
                made.append(message)
                enqueue(tasks.deliver, "engine", message.pk)
        if made and incident is not None:
            _tell_timeline(incident, made, words.subject, actor)
        if not found:
            nobody, new = words.put(key, "nobody", "nobody", None)
            if new and incident is not None:
                _tell_timeline(incident, [], words.subject, actor, nobody=nobody)
    return found


def subject(
    incident: Incident, *, what: str = "", asks: str = "", says: str = "", left: timedelta | None = None
) -> str:
    """A subject that is readable on a lock screen.

    `SEV2 INC-42 rag-chat accuracy .91→.78 (de) · asks: roll back v43→v42 · 26 min left`: what is wrong comes first
    (what was measured, once it is, else the title), and only it is cut when the whole is too long.
    """
    what = measured(incident) or incident.title if what in ("", incident.title) else what
    head = f"{'DRILL ' if incident.is_drill else ''}SEV{incident.severity} {incident.key}"
    if incident.service is not None:
        head += f" {incident.service.slug}"
    tail = f" · asks: {_act(incident, asks)}" if asks else ""
    tail += f" · {says}" if says else ""
    if left is not None:
        tail += f" · {texts.span(left)} left"
    what = " ".join(what.split())
    room = max(24, SUBJECT_LENGTH - len(head) - len(tail) - 1)
    if len(what) > room:
        what = what[: room - 1].rstrip() + "…"
    return " ".join(f"{head} {what}{tail}".split())


def measured(incident: Incident) -> str:
    """What users feel, as short as it gets: `accuracy .91→.78 (de)`; empty before a check has found it."""
    failed = Evidence.objects.filter(incident_id=incident.pk, kind="check", verdict="fail").order_by("number")
    wanted = SIGNALS.get(incident.incident_type)
    felt = [row for row in failed.filter(provider="metric.compare")[:20] if row.params.get("signal")]
    for row in sorted(felt, key=lambda row: row.params["signal"] != wanted):
        before, now = row.result.get("before"), row.result.get("now")
        if isinstance(before, int | float) and isinstance(now, int | float):
            unit = "" if row.unit in ("", "ratio", "share") else f" {row.unit}"
            name = str(row.params["signal"]).replace("_", " ")
            return f"{name} {_short(before)}→{_short(now)}{unit}{_where(failed)}"
    return ""


def _where(failed: QuerySet[Evidence]) -> str:
    """The part of the traffic that is worst off, if versions were compared by part: ` (de)`."""
    compared = failed.filter(provider="eval.compare").last()
    worst = (compared.result.get("regressed") or [""])[0] if compared else ""
    return f" ({str(worst).rpartition('=')[2]})" if worst else ""


def _short(value: float) -> str:
    """Two or three digits: `.91`, `1.7`, `26`, `1,240`."""
    if abs(value) < 1:
        return f"{value:.2f}".replace("0.", ".", 1) if abs(value) >= 0.005 else f"{value:.1g}"
    return f"{value:,.1f}" if abs(value) < 10 else f"{value:,.0f}"


def _act(incident: Incident, asks: str) -> str:
    """What is asked for, without what the line says already: `roll back v43→v42`."""
    if incident.service is not None:
        asks = asks.replace(f" {incident.service.slug}:", "")
    asks = asks.replace(" → ", "→")
    return asks[:1].lower() + asks[1:] if asks[1:2].islower() else asks


def body(kind: str, **facts: Any) -> str:
    """The text of one kind of message, from templates/notices/<kind>.txt; the template's head lists its facts."""
    return texts.render(f"notices/{kind}.txt", **facts).strip()


def link_of(path: str) -> str:
    """A path of ours as an address that works on a phone (BACKSTOP_BASE_URL)."""
    return f"{settings.BASE_URL}{path}" if path.startswith("/") else path


def _addresses(team: Team | None, users: Iterable[User]) -> list[tuple[Address, str]]:
    """Every address once, with what the timeline calls it: a label, never the address."""
    found: dict[int, tuple[Address, str]] = {}
    people = {user.pk: user for user in users if user.is_active}
    for address in Address.objects.filter(user__in=list(people)).select_related("user").order_by("pk"):
        assert address.user is not None
        found[address.pk] = (address, f"{address.user.label} ({address.label})"[:160])
    if team is not None:
        for address in Address.objects.filter(team=team).order_by("pk"):
            found.setdefault(address.pk, (address, f"team {team.slug} ({address.label})"[:160]))
    return list(found.values())


class _Words:
    """What is said, the same for every address."""

    def __init__(self, team: Team, incident: Incident | None, kind: str, subject: str, body: str, link: str) -> None:
        self.team, self.incident, self.kind = team, incident, kind
        self.subject, self.body, self.link = subject, body, link

    def put(self, key: str, where: str, recipient: str, address: Address | None) -> tuple[Message, bool]:
        """The message's row, made unless its key exists. With no address it only records that nobody was told."""
        now = clock.now()
        whole = f"{self.kind}:{key}:{where}"
        if len(whole) > 200:
            whole = f"{self.kind}:{hashlib.sha256(key.encode()).hexdigest()}:{where}"
        return Message.objects.get_or_create(
            key=whole,
            defaults={
                "team": self.team,
                "incident": self.incident,
                "kind": self.kind,
                "address_id": address.pk if address else None,
                "recipient": recipient,
                "subject": self.subject,
                "body": self.body,
                "link": self.link[:500],
                "state": "pending" if address else "failed",
                "error": "" if address else "There is no address to tell.",
                "due_at": now,
                "created_at": now,
            },
        )


def _tell_timeline(
    incident: Incident, made: list[Message], subject: str, actor: Actor, *, nobody: Message | None = None
) -> None:
    names = [message.recipient for message in made]
    text = f"Told {', '.join(names)}: {subject}"
    if nobody is not None:
        text = f"Nobody could be told, because neither the people nor the team have an address: {subject}"
    kind = (nobody or made[0]).kind
    told = {"kind": kind, "messages": [message.pk for message in made], "recipients": names, "subject": subject}
    timeline.record(incident, kind="message", actor=actor, text=text, data=told)

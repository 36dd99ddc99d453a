"""Who is told what: one message per address and state change, written to the outbox in the caller's transaction."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet

from catalog import permissions
from catalog.actors import ENGINE, Actor
from catalog.models import Address, Membership, Team, User
from catalog.permissions import Permission
from common import clock, statements
from common.background import enqueue
from common.errors import Conflict, NotFound
from common.secrets import redact
from common.statements import Written
from incidents import digests, tasks, texts, timeline
from incidents.models import Evidence, Incident, Message
from incidents.outbox import GIVE_UP_AFTER, deliver, due
from incidents.postmortem_facts import SIGNALS

__all__ = [
    "KINDS",
    "body",
    "deliver",
    "due",
    "link_of",
    "measured",
    "subject",
    "tell",
    "tell_second_channel",
    "test",
    "with_time_left",
]

# Every kind of message; each has a template templates/notices/<kind>.txt.
KINDS = {
    "opened": "an incident was opened",
    "waits_for_you": "an action waits for approval, or a step for an answer",
    "approval_half": "half of an approval's time is over",
    "approval_expired": "an approval ran out; nothing was applied",
    "run_ended": "a runbook came to its end",
    "runbook_message": "a runbook tells the team something in its own words",
    "engine_down": "nothing runs: no worker gives a sign of life",
    "postmortem_24": "a postmortem's clock has run 24 hours",
    "postmortem_44": "a postmortem is due in four hours",
    "postmortem_48": "a postmortem is overdue",
    "break_glass": "somebody approved alone, in an emergency",
    "goes_alone": "something that can be taken back is done without asking",
    "effects": "all effects were stopped, or allowed again",
    "action_item_due": "an action item is due or overdue",
    "test": "somebody tries whether an address works",
}
SUBJECT_LENGTH = 160
# A state change that has reached nobody for so long goes to everybody else who can be told.
SECOND_CHANNEL_AFTER = timedelta(minutes=2)
_LEFT = re.compile(r" · [0-9a-z ]+ left$")


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
    since: datetime | None = None,
    now: datetime | None = None,
) -> list[Message]:
    """Tell people of one state change, once: every address of the users and (`to_team`) of the team.

    `key` names the state change (`approval:<uuid>`); calling again with it sends nothing new, except to addresses added
    since. `link` is a path of ours or a whole address. `since` is when it came to pass, if that is noticed only now:
    what was noticed long after is told with whatever else is late. `now` is given by who has read the clock. Writes one
    timeline entry that names who is told by label, or that nobody could be told. Gives the messages of this key that
    were made or already there.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown message kind {kind!r}")
    # All of it or nothing: what fails in here fails the caller's transaction too.
    with transaction.atomic(savepoint=False):
        made: list[Message] = []
        found: list[Message] = []
        words = _Words(team, incident, kind, redact(subject)[:300], redact(body), link_of(link), since, now)
        for address, recipient in _addresses(team if to_team else None, users):
            message, new = words.put(key, str(address.pk), recipient, address)
            found.append(message)
            if new:
                made.append(message)
                enqueue(tasks.deliver, "engine", message.pk)
        if made and incident is not None:
            _tell_timeline(incident, made, words.subject, actor, now=words.now)
        if not found:
            nobody, new = words.put(key, "nobody", "nobody", None)
            if new and incident is not None:
                _tell_timeline(incident, [], words.subject, actor, nobody=nobody, now=words.now)
    return found


def test(address: Address, *, actor: Actor) -> Message:
    """Send a test message now and give it with what became of it; the same within a minute is the same message.

    Tried once and not again: whoever asked is looking at the answer.
    """
    team = address.team
    if team is not None:
        permissions.require(actor, Permission.CONFIGURE, team)
    elif address.user_id != actor.user_id:
        raise NotFound("There is no such address.", fix="Reload the page.")
    else:
        member = Membership.objects.filter(user=address.user_id).select_related("team").order_by("pk").first()
        if member is None:
            raise Conflict("You are in no team yet, so nothing will be told to you.", fix="Ask a team admin.")
        team = member.team
    recipient = f"{actor.label} ({address.label})"[:160]
    text = body("test", who=actor.label)
    words = _Words(team, None, "test", "Backstop: a test, nothing is wrong", text, link_of("/account"))
    message, new = words.put(f"{clock.now():%Y-%m-%dT%H:%M}", str(address.pk), recipient, address)
    if new:
        message = deliver(message.pk) or message
        Message.objects.filter(pk=message.pk, state="pending").update(state="failed")
    message.refresh_from_db()
    return message


def tell_second_channel(now: datetime) -> list[Message]:
    """Where a state change reached nobody within two minutes, tell everybody else of the team who can be told, once.

    That is: every address of the team, and those of its people, that were not tried for it yet. Written to the
    timeline. Gives the new messages.
    """
    made: list[Message] = []
    recent = Message.objects.filter(attempts__gte=1, due_at__gte=now - GIVE_UP_AFTER).exclude(kind="test")
    stuck = recent.filter(Q(state="failed") | Q(state="pending", created_at__lte=now - SECOND_CHANNEL_AFTER))
    for key in {message.key.rpartition(":")[0]: None for message in stuck.order_by("pk")}:
        siblings = list(Message.objects.filter(key__startswith=f"{key}:").select_related("team", "incident"))
        if any(message.state == "sent" for message in siblings):
            continue
        first = siblings[-1]
        tried = {message.address_id for message in siblings}
        everybody = User.objects.filter(memberships__team=first.team).distinct()
        others = [pair for pair in _addresses(first.team, everybody) if pair[0].pk not in tried]
        with transaction.atomic():
            words = _Words(
                first.team, first.incident, first.kind, first.subject, first.body, first.link, first.created_at
            )
            new = [words.keep(f"{key}:{address.pk}", recipient, address)[0] for address, recipient in others]
            for message in new:
                enqueue(tasks.deliver, "engine", message.pk)
            if new and first.incident is not None:
                _tell_timeline(first.incident, new, first.subject, ENGINE, because="Nobody was reached yet, so told ")
        made += new
    return made


def subject(
    incident: Incident, *, what: str = "", asks: str = "", says: str = "", left: timedelta | None = None
) -> str:
    """A subject that is readable on a lock screen.

    `SEV2 INC-42 rag-chat accuracy .91→.78 (de) · asks: roll back v43→v42 · 26 min left`: what is wrong comes first
    (what was measured, once it is, else the title), and only it is cut when the whole is too long.
    """
    what = measured(incident) or incident.title if what in ("", incident.title) else what
    head = digests.head(incident)
    tail = f" · asks: {_act(incident, asks)}" if asks else ""
    tail += f" · {says}" if says else ""
    if left is not None:
        tail += _left(left)
    what = " ".join(what.split())
    room = max(24, SUBJECT_LENGTH - len(head) - len(tail) - 1)
    if len(what) > room:
        what = what[: room - 1].rstrip() + "…"
    return " ".join(f"{head} {what}{tail}".split())


def with_time_left(subject: str, left: timedelta) -> str:
    """A subject that was written earlier, with the time that is left by now, if it names one."""
    return _LEFT.sub(_left(left), subject)


def _left(left: timedelta) -> str:
    return f" · {texts.span(left)} left"


def _failed(incident: int, provider: str) -> QuerySet[Evidence]:
    rows = Evidence.objects.filter(incident_id=incident, kind="check", verdict="fail", provider=provider)
    return rows.order_by("number")


_compared = Written(lambda incident: _failed(incident, "metric.compare")[:20])


def measured(incident: Incident) -> str:
    """What users feel, as short as it gets: `accuracy .91→.78 (de)`; empty before a check has found it."""
    wanted = SIGNALS.get(incident.incident_type)
    felt = [row for row in _compared(incident.pk) if row.params.get("signal")]
    for row in sorted(felt, key=lambda row: row.params["signal"] != wanted):
        before, now = row.result.get("before"), row.result.get("now")
        if isinstance(before, int | float) and isinstance(now, int | float):
            unit = "" if row.unit in ("", "ratio", "share") else f" {row.unit}"
            name = str(row.params["signal"]).replace("_", " ")
            return f"{name} {texts.short(before)}→{texts.short(now)}{unit}{_where(incident)}"
    return ""


def _where(incident: Incident) -> str:
    """The part of the traffic that is worst off, if versions were compared by part: ` (de)`."""
    compared = _failed(incident.pk, "eval.compare").last()
    worst = (compared.result.get("regressed") or [""])[0] if compared else ""
    return f" ({str(worst).rpartition('=')[2]})" if worst else ""


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


_of_team = Written(lambda team: Address.objects.filter(team=team).order_by("pk"))
_by_key = Written(lambda key: Message.objects.filter(key=key))


def _addresses(team: Team | None, users: Iterable[User]) -> list[tuple[Address, str]]:
    """Every address once, with what the timeline calls it: a label, never the address."""
    found: dict[int, tuple[Address, str]] = {}
    people = {user.pk: user for user in users if user.is_active}
    personal = Address.objects.filter(user__in=list(people)).select_related("user").order_by("pk")
    for address in personal if people else []:
        assert address.user is not None
        found[address.pk] = (address, f"{address.user.label} ({address.label})"[:160])
    if team is not None:
        for address in _of_team(team.pk):
            found.setdefault(address.pk, (address, f"team {team.slug} ({address.label})"[:160]))
    return list(found.values())


class _Words:
    """What is said, the same for every address."""

    def __init__(
        self,
        team: Team,
        incident: Incident | None,
        kind: str,
        subject: str,
        body: str,
        link: str,
        since: datetime | None = None,
        now: datetime | None = None,
    ) -> None:
        self.team, self.incident, self.kind = team, incident, kind
        self.subject, self.body, self.link, self.since = subject, body, link, since
        self.now = now or clock.now()

    def put(self, key: str, where: str, recipient: str, address: Address | None) -> tuple[Message, bool]:
        """The message's row, made unless its key exists. With no address it only records that nobody was told."""
        whole = f"{self.kind}:{key}:{where}"
        if len(whole) > 200:
            whole = f"{self.kind}:{hashlib.sha256(key.encode()).hexdigest()}:{where}"
        return self.keep(whole, recipient, address)

    def keep(self, whole: str, recipient: str, address: Address | None) -> tuple[Message, bool]:
        """The same, by its whole key."""
        row = Message(
            key=whole,
            team=self.team,
            incident=self.incident,
            kind=self.kind,
            address_id=address.pk if address else None,
            recipient=recipient,
            subject=self.subject,
            body=self.body,
            link=self.link[:500],
            state="pending" if address else "failed",
            error="" if address else "There is no address to tell.",
            due_at=self.now,
            created_at=min(self.since or self.now, self.now),
        )
        return statements.insert_once(row, lambda: _by_key.first(whole))


def _tell_timeline(
    incident: Incident,
    made: list[Message],
    subject: str,
    actor: Actor,
    *,
    nobody: Message | None = None,
    because: str = "Told ",
    now: datetime | None = None,
) -> None:
    names = [message.recipient for message in made]
    text = f"{because}{', '.join(names)}: {subject}"
    if nobody is not None:
        text = f"Nobody could be told, because neither the people nor the team have an address: {subject}"
    kind = (nobody or made[0]).kind
    told = {"kind": kind, "messages": [message.pk for message in made], "recipients": names, "subject": subject}
    timeline.record(incident, kind="message", actor=actor, text=text, data=told, now=now)

"""What was told too late to one address, as one message that says how things stand by now (promise F28)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from django.conf import settings

from common.secrets import redact
from incidents import texts
from incidents.channels.base import Note
from incidents.models import Alert, Incident, Message

# So many incidents and so many of their messages are named; the rest is counted, and stands on the timelines.
NAMED = 20
SAID = 5
# Kinds that ask somebody to act. Those that still do are not told here.
ASKS = ("waits_for_you", "approval_half")


@dataclass
class About:
    """What was to be told of one incident, or of none."""

    incident: Incident | None
    messages: list[Message] = field(default_factory=list)
    # Whether each alert of it has stopped; a person has yet to say that it is over.
    is_quiet: bool = False

    @property
    def is_over(self) -> bool:
        """Whether nothing of it goes on."""
        return self.is_quiet or (self.incident is not None and not self.incident.is_open)

    @property
    def standing(self) -> str:
        """How it stands, in a few words."""
        assert self.incident is not None
        quiet = "; its alerts have stopped" if self.is_quiet and self.incident.is_open else ""
        return standing(self.incident) + quiet

    @property
    def said(self) -> list[Message]:
        """The newest; that it was opened says its line already."""
        return [message for message in self.messages if message.kind != "opened"][-SAID:]

    @property
    def more(self) -> int:
        """How many are not named."""
        return sum(message.kind != "opened" for message in self.messages) - len(self.said)


def note(messages: list[Message], *, key: str, now: datetime) -> Note:
    """One message for all, the oldest first; one that is alone keeps its own words, unless they ask what is over."""
    waited = texts.span(now - messages[0].created_at)
    abouts = _by_incident(messages)
    if len(messages) == 1 and messages[0].kind not in ASKS:
        only = messages[0]
        stands = f" {only.incident.key} is {abouts[0].standing}." if only.incident else ""
        body = f"Told {waited} late.{stands}\n\n{only.body}"
        return Note(only.subject, body, only.link, key, only.incident.key if only.incident else "")
    still = [about for about in abouts if about.incident is not None and not about.is_over]
    over = [about for about in abouts if about.incident is not None and about.is_over]
    other = [message for about in abouts if about.incident is None for message in about.messages]
    body = texts.render(
        "notices/digest.txt",
        count=len(messages),
        waited=waited,
        still=_most(still),
        over=_most(over),
        other=other[-NAMED:],
        more={"still": len(still) - NAMED, "over": len(over) - NAMED, "other": len(other) - NAMED},
        asks=ASKS,
        base=settings.BASE_URL,
    )
    subject = _subject(len(messages), waited, still, over)
    # The titles of the incidents were never part of a message.
    return Note(subject, redact(body.strip()), f"{settings.BASE_URL}/incidents", key)


def head(incident: Incident) -> str:
    """What names an incident on a lock screen: `SEV2 INC-42 rag-chat`."""
    slug = f" {incident.service.slug}" if incident.service is not None else ""
    return f"{'DRILL ' if incident.is_drill else ''}SEV{incident.severity} {incident.key}{slug}"


def standing(incident: Incident) -> str:
    """An incident's state in a few words."""
    if incident.state == "open":
        return "open, acknowledged by nobody"
    at = {"acknowledged": incident.acknowledged_at, "mitigated": incident.mitigated_at}
    since = at.get(incident.state, incident.resolved_at)
    return f"{incident.get_state_display()} since {texts.utc(since)}" if since else incident.get_state_display()


def quiet(incidents: list[int]) -> set[int]:
    """Those of these incidents that had alerts, all of which have stopped."""
    alerts = Alert.objects.filter(incident__in=incidents).order_by()
    fired = set(alerts.values_list("incident", flat=True))
    return {pk for pk in fired if pk} - set(alerts.filter(status__in=Alert.GOING_ON).values_list("incident", flat=True))


def _by_incident(messages: list[Message]) -> list[About]:
    """In the order of the gravest open one first, then as they came."""
    found: dict[int, About] = {}
    for message in messages:
        found.setdefault(message.incident_id or 0, About(message.incident)).messages.append(message)
    for pk in quiet([pk for pk in found if pk]):
        found[pk].is_quiet = True
    return sorted(found.values(), key=lambda about: about.incident.severity if about.incident else 9)


def _most(abouts: Iterable[About]) -> list[tuple[str, About]]:
    rows = []
    for about in list(abouts)[:NAMED]:
        assert about.incident is not None
        title = " ".join(about.incident.title.split())[:160]
        rows.append((f"{head(about.incident)} {title}", about))
    return rows


def _subject(count: int, waited: str, still: list[About], over: list[About]) -> str:
    """`12 messages waited up to 2 h: 3 incidents still open (INC-7, INC-8, INC-9), 9 ended meanwhile`."""
    keys = [about.incident.key for about in still if about.incident is not None]
    named = f" ({', '.join(keys[:3])}{' …' if len(keys) > 3 else ''})" if keys else ""
    facts = []
    if still:
        facts.append(f"{len(still)} incident{'s' if len(still) > 1 else ''} still open{named}")
    if over:
        facts.append(f"{len(over)} ended meanwhile")
    what = f"{count} messages waited up to" if count > 1 else "1 message waited"
    return f"Backstop: {what} {waited}" + (f": {', '.join(facts)}" if facts else "")

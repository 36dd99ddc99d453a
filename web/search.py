"""Finding things by words: incidents, postmortems, runbooks, services and people of the reader's teams.

Every word must occur. What belongs to other teams is not looked at, so neither titles nor counts of it can show.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from operator import and_, or_
from urllib.parse import urlencode

from django.db.models import Case, IntegerField, Model, Q, QuerySet, Value, When
from django.urls import reverse

from catalog.actors import Actor
from catalog.models import Service, User
from incidents.models import Incident, Postmortem
from runbooks.models import Runbook
from web.policy import team_ids, visible

# A longer list helps nobody at 3 a.m.; the lists of incidents and postmortems go on by the page.
MOST = 10
LONGEST = 200
MOST_WORDS = 8
_KEY = re.compile(r"INC-(\d{1,9})\Z", re.IGNORECASE)


@dataclass(frozen=True)
class Found:
    """One thing that fits: what it is, how it is called, where it is, and a line about it."""

    kind: str
    key: str
    title: str
    url: str
    about: str


@dataclass(frozen=True)
class Group:
    """The things of one kind that fit; `more` is the address of the rest, "" where there is none or no such list."""

    kind: str
    word: str
    found: list[Found]
    more: str = ""


def exact(text: str, actor: Actor) -> Incident | None:
    """The incident that `INC-42` names, if the actor may see it."""
    named = _KEY.match(text.strip())
    if named is None:
        return None
    return visible(Incident.objects.all(), actor).filter(number=int(named[1])).first()


def search(text: str, actor: Actor) -> list[Group]:
    """What fits, by kind; kinds in which nothing fits are left out. An empty text finds nothing."""
    words = text[:LONGEST].replace("\x00", "").split()[:MOST_WORDS]
    if not words:
        return []
    groups = [kind(words, actor) for kind in (_incidents, _postmortems, _services, _runbooks, _people)]
    return [group for group in groups if group.found]


def _fits(words: list[str], *fields: str) -> Q:
    return reduce(and_, (reduce(or_, (Q(**{f"{field}__icontains": word}) for field in fields)) for word in words))


def _first(words: list[str], *fields: str) -> Case:
    """0 where the words stand in these fields, which weigh more, else 1."""
    return Case(When(_fits(words, *fields), then=Value(0)), default=Value(1), output_field=IntegerField())


def _group(kind: str, word: str, rows: QuerySet[Model], shape: Callable[..., Found], more: str = "") -> Group:
    found = list(rows[: MOST + 1])
    return Group(kind, word, [shape(row) for row in found[:MOST]], more if len(found) > MOST else "")


def _incidents(words: list[str], actor: Actor) -> Group:
    wanted = _fits(words, "title", "summary", "service__slug")
    numbers = [int(word) for word in (w.upper().removeprefix("INC-") for w in words) if _is_number(word)]
    if len(words) == 1 and numbers:
        wanted |= Q(number=numbers[0])
    rows = visible(Incident.objects.select_related("service"), actor).filter(wanted)
    more = f"{reverse('incidents')}?{urlencode({'q': words[0]})}" if len(words) == 1 else ""
    return _group("incident", "Incidents", rows.order_by(_first(words, "title"), "-number"), _incident, more)


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) < 10


def _incident(row: Incident) -> Found:
    about = f"SEV{row.severity} · {row.get_state_display()} · {row.service.slug if row.service else 'no service'}"
    return Found("incident", row.key, row.title, reverse("incident", args=[row.number]), about)


def _postmortems(words: list[str], actor: Actor) -> Group:
    rows = visible(Postmortem.objects.select_related("incident").defer("body"), actor, team="incident__team")
    rows = rows.filter(_fits(words, "incident__title", "body"))
    ordered = rows.order_by(_first(words, "incident__title"), "-incident__number")
    return _group("postmortem", "Postmortems", ordered, _postmortem)


def _postmortem(row: Postmortem) -> Found:
    incident = row.incident
    url = reverse("postmortem", args=[incident.number])
    return Found("postmortem", incident.key, incident.title, url, row.get_state_display())


def _services(words: list[str], actor: Actor) -> Group:
    rows = visible(Service.objects.select_related("team"), actor).filter(_fits(words, "slug", "title", "description"))
    return _group("service", "Services", rows.order_by(_first(words, "slug", "title"), "slug"), _service)


def _service(row: Service) -> Found:
    return Found("service", row.slug, row.title, reverse("service", args=[row.slug]), row.team.name)


def _runbooks(words: list[str], actor: Actor) -> Group:
    rows = visible(Runbook.objects.filter(deleted_at=None).select_related("team"), actor, shared=True)
    rows = rows.filter(_fits(words, "slug", "title"))
    return _group("runbook", "Runbooks", rows.order_by("slug"), _runbook)


def _runbook(row: Runbook) -> Found:
    about = row.team.name if row.team else "shipped with Backstop"
    return Found("runbook", row.slug, row.title, reverse("runbook", args=[row.slug]), about)


def _people(words: list[str], actor: Actor) -> Group:
    # Through the rows of memberships: a condition on the person alone would find colleagues of colleagues.
    mine = Q(memberships__team__in=team_ids(actor)) & ~Q(memberships__roles=[])
    rows = User.objects.filter(mine, is_active=True).filter(_fits(words, "username", "full_name", "email")).distinct()
    return _group("person", "People", rows.order_by("username"), _person)


def _person(row: User) -> Found:
    return Found("person", row.username, row.label, reverse("people") + f"#person-{row.username}", "")

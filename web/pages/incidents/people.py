"""Who is on an incident, who was told and whether it arrived, and whom to call when it comes from upstream."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from django.db.models import QuerySet

from catalog.models import Address, Service, Team, User
from common.statements import Written
from incidents import outbox
from incidents.models import Incident, Message

TOLD = 100
# Beside the Now card.
FEW = 5
_PHONE = re.compile(r"\+?\d[\d ()/.-]{5,22}\d")


@dataclass(frozen=True)
class Told:
    """One message to one address: whom, by which channel, and what became of it."""

    message: Message
    channel: str
    arrived: bool
    word: str
    at: datetime
    # How late it was, and with how many others it went, where it did not go by itself and at once.
    how: str = ""


@dataclass(frozen=True)
class Contact:
    """A way to reach somebody: `href` where a phone can use it."""

    label: str
    href: str = ""


@dataclass(frozen=True)
class Upstream:
    """A service that this one needs, and who owns it."""

    service: Service
    owner: User | None
    contacts: list[Contact]


_messages = Written(lambda incident: Message.objects.filter(incident=incident).order_by("-id")[:TOLD])
_few_messages = Written(lambda incident: Message.objects.filter(incident=incident).order_by("-id")[:FEW])


def told(incident: Incident, *, in_short: bool = False) -> list[Told]:
    """Who was told, the newest first."""
    messages = (_few_messages if in_short else _messages)(incident.pk)
    wanted = {message.address_id for message in messages if message.address_id}
    channels = dict(Address.objects.filter(pk__in=wanted).values_list("pk", "channel")) if wanted else {}
    sizes = outbox.sent_with([message for message in messages if message.state == "sent"])
    return [_told(message, channels.get(message.address_id or 0, ""), sizes.get(message.pk, 1)) for message in messages]


def _told(message: Message, channel: str, together: int) -> Told:
    if message.state == "sent" and message.sent_at is not None:
        where = channel or "address removed since"
        how = outbox.how(message, others=together - 1)
        return Told(message, where, arrived=True, word="Accepted", at=message.sent_at, how=how)
    if message.address_id is None:
        return Told(message, "no address", arrived=False, word="Nobody reached", at=message.created_at)
    if message.state == "failed":
        return Told(message, channel, arrived=False, word="Not delivered", at=message.created_at)
    word = "On its way" if message.attempts == 0 else f"Tried {message.attempts} times, trying again"
    return Told(message, channel, arrived=False, word=word, at=message.created_at)


def upstreams(incident: Incident) -> list[Upstream]:
    """What the incident's service needs, with the people and addresses of whoever looks after it."""
    if incident.service is None:
        return []
    needed: QuerySet[Service] = incident.service.depends_on.select_related(
        "team", "default_owner", "team__default_owner"
    )
    services = list(needed.order_by("slug")[:10])
    addresses: dict[int, list[Address]] = {}
    for address in Address.objects.filter(team__in={service.team_id for service in services}) if services else []:
        addresses.setdefault(address.team_id or 0, []).append(address)
    return [_upstream(service, addresses.get(service.team_id, [])) for service in services]


def own_contacts(incident: Incident) -> list[Contact]:
    """How the incident's own team is reached."""
    return _contacts(incident.team, list(Address.objects.filter(team=incident.team_id)), None)


def _upstream(service: Service, addresses: list[Address]) -> Upstream:
    owner = service.default_owner or service.team.default_owner
    return Upstream(service, owner, _contacts(service.team, addresses, owner))


def _contacts(team: Team, addresses: list[Address], owner: User | None) -> list[Contact]:
    """Phone numbers first: a team writes its number into the label of an address."""
    found: list[Contact] = []
    for address in addresses:
        number = _PHONE.search(address.label)
        if number:
            digits = re.sub(r"[^\d+]", "", number.group())
            found.insert(0, Contact(address.label, f"tel:{digits}"))
        else:
            found.append(Contact(f"{address.label} ({address.url_hint})"))
    if owner is not None:
        found.append(Contact(f"{owner.label}, {owner.email}", f"mailto:{owner.email}"))
    return found

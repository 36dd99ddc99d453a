"""Earlier incidents like this one: why they are alike, and what ended them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from django.db.models import Q

from catalog.models import Change
from common.statements import Written
from incidents.models import Evidence, Incident, TimelineEntry
from runbooks.models import Run

LOOKED_AT = 30
SHOWN = 5
_POINTS = {"cause": 4, "service": 2, "change": 2, "type": 1}
_KINDS = dict(Change.KINDS)


@dataclass(frozen=True)
class Similar:
    """One earlier incident."""

    incident: Incident
    why: list[str]
    ended_by: str
    lasted: timedelta | None


_alike = Written(
    lambda team, but, service, kind: (
        Incident.objects.filter(Q(service=service) | Q(incident_type=kind), team=team)
        .exclude(pk=but)
        .select_related("service")
        .order_by("-number")[:LOOKED_AT]
    )
)


def similar(incident: Incident) -> list[Similar]:
    """At most five, the most alike first: same cause, same service, same kind of change before it, same type."""
    # No service has the number 0, and no incident the type "".
    kind = incident.incident_type if incident.incident_type != "other" else ""
    looked_at = _alike(incident.team_id, incident.pk, incident.service_id or 0, kind)
    if not looked_at:
        return []
    keys = [incident.pk, *(other.pk for other in looked_at)]
    found, changed, ended = _causes(keys), _changes(keys), _effects(keys)
    mine = found.get(incident.pk, ("", ""))
    rows: list[tuple[int, Similar]] = []
    for other in looked_at:
        why: dict[str, str] = {}
        cause = found.get(other.pk, ("", ""))
        if mine[0] and cause[0] == mine[0]:
            why["cause"] = f"same cause: {cause[1]}"
        if incident.service_id and other.service_id == incident.service_id:
            why["service"] = "same service"
        if changed.get(other.pk) and changed.get(other.pk) == changed.get(incident.pk):
            why["change"] = f"also after a change of {_KINDS.get(changed[other.pk], changed[other.pk])}"
        if incident.incident_type != "other" and other.incident_type == incident.incident_type:
            why["type"] = f"also {other.get_incident_type_display()}"
        lasted = other.resolved_at - (other.onset_at or other.started_at) if other.resolved_at else None
        what = Similar(other, list(why.values()), ended.get(other.pk, ""), lasted)
        rows.append((sum(_POINTS[name] for name in why), what))
    rows.sort(key=lambda row: (-row[0], -row[1].incident.number))
    return [row for _, row in rows[:SHOWN]]


def _causes(keys: list[int]) -> dict[int, tuple[str, str]]:
    """Id and title of the cause that the last run of each incident named."""
    runs = Run.objects.real().filter(incident__in=keys).exclude(diagnosis__top="unknown").order_by("id")
    rows = runs.values_list("incident_id", "diagnosis__top", "diagnosis__title")
    return {key: (str(top), str(title or top)) for key, top, title in rows if top and key is not None}


def _changes(keys: list[int]) -> dict[int, str]:
    """The kind of the change that each incident's evidence suspects most."""
    rows = Evidence.objects.filter(incident_id__in=keys, provider="change.rank", verdict="fail").order_by("-number")
    found = rows.values_list("incident_id", "result__top__kind")
    return {key: str(kind) for key, kind in found if kind and key is not None}


def _effects(keys: list[int]) -> dict[int, str]:
    """The last thing that was done to the world in each incident, in its own words."""
    rows = TimelineEntry.objects.filter(incident__in=keys, kind="effect").order_by("seq")
    return dict(rows.values_list("incident_id", "text"))

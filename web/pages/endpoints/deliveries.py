"""One delivery: what came, when, what it was taken for and why; replay."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from catalog import permissions
from catalog.permissions import Permission
from common.background import enqueue
from common.plain import plain
from incidents import intake
from incidents.models import Alert, Delivery, Endpoint, Incident
from runbooks import tasks
from web.policy import PersonRequest, allow, team_object_or_404

# Of a payload in a list no more than this is shown; the delivery's own page has the rest.
PREVIEW_CHARACTERS = 4_000
FACES = {"processed": ("pass", "Read"), "rejected": ("fail", "Rejected"), "received": ("queued", "Waits to be read")}


@dataclass(frozen=True)
class Became:
    """One delivery with its incidents, and the beginning of its payload without secrets."""

    delivery: Delivery
    glyph: str
    word: str
    incidents: list[Incident]
    body: str
    is_cut: bool


def became(endpoint: Endpoint, deliveries: list[Delivery]) -> list[Became]:
    """What became of these deliveries of one endpoint; two queries whatever their number."""
    keys = {row.pk: _keys(row) for row in deliveries}
    wanted = {key for found in keys.values() for key in found}
    alerts = Alert.objects.filter(endpoint=endpoint, dedup_key__in=wanted, incident__isnull=False)
    by_key = {alert.dedup_key: alert.incident for alert in alerts.select_related("incident") if alert.incident}
    found = []
    for row in deliveries:
        incidents = {by_key[key].pk: by_key[key] for key in keys[row.pk] if key in by_key}
        body = intake.redacted(row)
        cut = len(body) > PREVIEW_CHARACTERS
        glyph, word = FACES[row.status]
        found.append(Became(row, glyph, word, list(incidents.values()), _pretty(body[:PREVIEW_CHARACTERS]), cut))
    return found


def _keys(delivery: Delivery) -> list[str]:
    return [str(alert.get("dedup_key")) for alert in delivery.alerts[:50] if isinstance(alert, dict)]


def _pretty(text: str) -> str:
    """JSON with indents; anything else, and JSON that was cut, as it is."""
    try:
        # An escaped half of a surrogate pair is legal JSON, and no page can hold it.
        return json.dumps(plain(json.loads(text)), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text


def find(request: PersonRequest, uuid: object, permission: Permission = Permission.SEE) -> Delivery:
    """The delivery, of a team of this person."""
    rows = Delivery.objects.select_related("endpoint", "endpoint__team")
    return team_object_or_404(rows, request.actor, permission=permission, team="endpoint__team", uuid=uuid)


@allow(Permission.SEE)
def delivery(request: PersonRequest, uuid: object) -> HttpResponse:
    """The page, with the body redacted."""
    found = find(request, uuid)
    return render(request, "endpoints/delivery.html", _context(request, found))


def _context(request: PersonRequest, found: Delivery) -> dict[str, Any]:
    alerts = Alert.objects.filter(endpoint=found.endpoint, dedup_key__in=_keys(found)).select_related("incident")
    glyph, word = FACES[found.status]
    return {
        "delivery": found,
        "glyph_name": glyph,
        "word": word,
        "headers": sorted(found.headers.items()),
        "body": _pretty(intake.redacted(found)[:50_000]),
        "normalized": json.dumps(found.alerts[:50], indent=2, ensure_ascii=False) if found.alerts else "",
        "alerts": list(alerts),
        "may_raw": permissions.can(request.actor, Permission.RAW_PAYLOADS, found.endpoint.team),
        "origin": Delivery.objects.filter(pk=found.replay_of).first() if found.replay_of else None,
    }


@allow(Permission.RAW_PAYLOADS)
def raw(request: PersonRequest, uuid: object) -> HttpResponse:
    """The bytes as they came, as a download, never as a page of ours."""
    found = find(request, uuid, Permission.RAW_PAYLOADS)
    response = HttpResponse(intake.raw(found, actor=request.actor), content_type="application/octet-stream")
    response["Content-Disposition"] = f'attachment; filename="{found.uuid}.bin"'
    return response


@allow(Permission.CONFIGURE)
@require_POST
def replay(request: PersonRequest, uuid: object) -> HttpResponse:
    """Process the same bytes once more."""
    found = find(request, uuid, Permission.CONFIGURE)
    again = intake.replay(found, actor=request.actor)
    enqueue(tasks.receive, "engine", again.pk)
    messages.success(request, "Replayed as a new delivery.")
    return redirect("delivery", uuid=again.uuid)

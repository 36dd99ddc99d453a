"""One delivery: what came, when, what it was taken for and why; replay."""

from __future__ import annotations

import json

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from catalog import permissions
from catalog.permissions import Permission
from common.background import enqueue
from incidents import intake
from incidents.models import Alert, Delivery
from runbooks import tasks
from web.policy import PersonRequest, allow, team_object_or_404


def find(request: PersonRequest, uuid: object, permission: Permission = Permission.SEE) -> Delivery:
    """The delivery, of a team of this person."""
    rows = Delivery.objects.select_related("endpoint", "endpoint__team")
    return team_object_or_404(rows, request.actor, permission=permission, team="endpoint__team", uuid=uuid)


@allow(Permission.SEE)
def delivery(request: PersonRequest, uuid: object) -> HttpResponse:
    """The page, with the body redacted."""
    found = find(request, uuid)
    keys = [str(alert.get("dedup_key")) for alert in found.alerts if isinstance(alert, dict)]
    alerts = Alert.objects.filter(endpoint=found.endpoint, dedup_key__in=keys[:50]).select_related("incident")
    context = {
        "delivery": found,
        "headers": sorted(found.headers.items()),
        "body": intake.redacted(found)[:50_000],
        "normalized": json.dumps(found.alerts[:50], indent=2, ensure_ascii=False) if found.alerts else "",
        "alerts": list(alerts),
        "may_raw": permissions.can(request.actor, Permission.RAW_PAYLOADS, found.endpoint.team),
        "origin": Delivery.objects.filter(pk=found.replay_of).first() if found.replay_of else None,
    }
    return render(request, "endpoints/delivery.html", context)


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

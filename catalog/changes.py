"""What was changed: deploys, models, prompts, pipelines, upstreams. The first thing that an incident asks."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Q

from catalog.models import Change, Service, Team
from common import clock
from common.errors import Invalid
from common.secrets import redact, redact_json

_KINDS = dict(Change.KINDS)


def record(
    *,
    team: Team,
    kind: str,
    summary: str,
    source: str,
    occurred_at: datetime,
    service: Service | None = None,
    subject: str = "",
    version: str = "",
    author: str = "",
    environment: str = "",
    link: str = "",
    external_id: str = "",
    labels: dict[str, str] | None = None,
    effect_key: str = "",
) -> tuple[Change, bool]:
    """Keep one change; the flag says that it is new. `effect_key` marks a change that Backstop itself made.

    Told again under the same `external_id` it stays one change, and the newer telling wins: a deployment that is
    pending, running, then live is one row. Raises Invalid for an unknown kind, no summary, or another team's service.
    """
    if kind not in _KINDS:
        raise Invalid(f"There is no kind of change named {kind[:40]!r}.", fix=f"Known: {', '.join(_KINDS)}.")
    if not summary.strip():
        raise Invalid("A change needs a summary.", fields={"summary": "one sentence"})
    if service is not None and service.team_id != team.pk:
        raise Invalid("The service belongs to another team.", fields={"service": "another team's"})
    told: dict[str, Any] = {
        "service": service,
        "kind": kind,
        "summary": _fit(summary, 300),
        "subject": _fit(subject, 200),
        "version": _fit(version, 120),
        "author": _fit(author, 120),
        "environment": _fit(environment, 60),
        "link": link if len(link) <= 500 and link.startswith(("http://", "https://")) else "",
        "labels": redact_json(dict(labels or {})),
        "occurred_at": occurred_at,
    }
    external_id = external_id.strip()[:200]
    if external_id:
        known = _known(team, source, external_id)
        if known is not None:
            return _tell_again(known, told), False
    try:
        with transaction.atomic():
            change = Change.objects.create(
                team=team,
                source=source[:40],
                external_id=external_id,
                effect_key=effect_key,
                received_at=clock.now(),
                **told,
            )
    except IntegrityError:
        # Another worker told the same change between our look and our insert.
        known = _known(team, source, external_id)
        if known is None:
            raise
        return _tell_again(known, told), False
    return change, True


def before(service: Service, *, until: datetime, hours: int = 72) -> list[Change]:
    """Changes up to and including `until`, newest first: those of the service, and those of its team bound to none."""
    return list(
        Change.objects.filter(
            Q(service=service) | Q(service=None),
            team=service.team_id,
            occurred_at__lte=until,
            occurred_at__gt=until - timedelta(hours=hours),
        ).order_by("-occurred_at", "-id")
    )


def _known(team: Team, source: str, external_id: str) -> Change | None:
    return Change.objects.filter(team=team, source=source[:40], external_id=external_id).first()


def _tell_again(known: Change, told: dict[str, Any]) -> Change:
    if told["occurred_at"] < known.occurred_at:
        # Tellings may arrive out of order.
        return known
    for name, value in told.items():
        # A telling that names no service does not unbind one that a person or an earlier telling gave.
        if name != "service" or value is not None:
            setattr(known, name, value)
    known.save(update_fields=list(told))
    return known


def _fit(text: str, length: int) -> str:
    return redact(text.strip().replace("\x00", "\ufffd"))[:length]

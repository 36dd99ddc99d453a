"""Which version of a model serves, which served before it, and moving from one to the other."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction
from django.db.models import F

from catalog.models import ModelVersion, Service
from common.errors import NotFound


def serving(service: Service) -> ModelVersion | None:
    """The version that serves now, as far as we were told."""
    return service.versions.filter(state="serving").first()


def previous(service: Service) -> ModelVersion | None:
    """The version to go back to: the last that served before the serving one and is still kept ready."""
    now = serving(service)
    kept = service.versions.filter(state="kept").order_by(F("served_from").desc(nulls_last=True), "-id")
    if now is not None:
        kept = kept.exclude(pk=now.pk)
        if now.served_from is not None:
            # After a rollback the newer, withdrawn version is kept too; it is not what "previous" means.
            kept = kept.filter(served_from__lt=now.served_from)
    return kept.first()


def resolve(service: Service, wanted: str) -> ModelVersion:
    """The version meant by `serving`, `previous` or its own name; NotFound names what there is."""
    found = {"serving": serving, "previous": previous}.get(wanted, lambda s: s.versions.filter(version=wanted).first())(
        service
    )
    if found is None:
        known = ", ".join(f"{row.version} ({row.state})" for row in service.versions.all()[:10]) or "none"
        raise NotFound(
            f"{service.slug} has no version {wanted!r}.",
            fix=f"Known versions: {known}. Versions are listed in the service's file.",
        )
    return found


def promote(service: Service, version: str, *, at: datetime) -> ModelVersion:
    """Note that a version serves from `at` on; the one before is kept. Repeating it changes nothing.

    `served_from` is when a version first served, so a rollback does not make the withdrawn version look older.
    """
    with transaction.atomic():
        Service.objects.select_for_update().get(pk=service.pk)
        chosen, _ = ModelVersion.objects.get_or_create(service=service, version=version, defaults={"state": "kept"})
        if chosen.state == "serving":
            return chosen
        service.versions.filter(state="serving").update(state="kept", served_to=at)
        chosen.state = "serving"
        chosen.served_from = chosen.served_from or at
        chosen.served_to = None
        chosen.save(update_fields=["state", "served_from", "served_to"])
    return chosen

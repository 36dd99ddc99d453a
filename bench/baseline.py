"""The limit: the least that Django can do with an alert webhook: parse it, and upsert one row per alert."""

from __future__ import annotations

import json
import os
from typing import Any

import django
from django.conf import settings

if not settings.configured:
    settings.configure(
        SECRET_KEY="bench",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        USE_TZ=True,
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": os.environ["BENCH_SQLITE"],
                "CONN_MAX_AGE": None,
                "OPTIONS": {
                    "transaction_mode": "IMMEDIATE",
                    "timeout": 20,
                    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
                },
            }
        },
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        LOGGING_CONFIG=None,
    )
    django.setup()

from django.core.wsgi import get_wsgi_application
from django.db import connection, models
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.utils import timezone


class Alert(models.Model):
    """One row per fingerprint."""

    fingerprint = models.CharField(max_length=64, unique=True)
    status = models.CharField(max_length=12)
    labels = models.JSONField()
    received = models.DateTimeField()

    class Meta:
        app_label = "bench"


def upsert(request: HttpRequest) -> HttpResponse:
    """One sorted statement, then 202."""
    now = timezone.now()
    alerts: dict[str, Any] = {a["fingerprint"]: a for a in json.loads(request.body)["alerts"]}
    rows = [
        Alert(fingerprint=key, status=alerts[key]["status"], labels=alerts[key]["labels"], received=now)
        for key in sorted(alerts)
    ]
    Alert.objects.bulk_create(
        rows, update_conflicts=True, unique_fields=["fingerprint"], update_fields=["status", "received"]
    )
    return HttpResponse(b"{}", status=202)


def healthz(request: HttpRequest) -> HttpResponse:
    """Serving."""
    return HttpResponse("ok")


urlpatterns = [path("upsert", upsert), path("healthz", healthz)]
if Alert._meta.db_table not in connection.introspection.table_names():
    with connection.schema_editor() as editor:
        editor.create_model(Alert)
connection.close()
application = get_wsgi_application()

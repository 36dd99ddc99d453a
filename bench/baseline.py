"""The limit: the least that Django can do: parse a webhook and upsert one row per alert; show 200 rows as a page."""

from __future__ import annotations

import json
import os
from typing import Any
from urllib.parse import urlsplit

import django
from django.conf import settings


def database(url: str) -> dict[str, Any]:
    """A file for SQLite with our own settings, or an address of a PostgreSQL; connections stay open."""
    if not url.startswith("postgres"):
        pragmas = "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
        options = {"transaction_mode": "IMMEDIATE", "timeout": 20, "init_command": pragmas}
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": url, "CONN_MAX_AGE": None, "OPTIONS": options}
    parts = urlsplit(url)
    place = {"NAME": parts.path[1:], "USER": parts.username, "HOST": parts.hostname, "PORT": parts.port}
    return {"ENGINE": "django.db.backends.postgresql", "CONN_MAX_AGE": None, **place}


if not settings.configured:
    settings.configure(
        SECRET_KEY="bench",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        USE_TZ=True,
        DATABASES={"default": database(os.environ["BENCH_DATABASE"])},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        LOGGING_CONFIG=None,
        TEMPLATES=[{"BACKEND": "django.template.backends.jinja2.Jinja2", "OPTIONS": {"autoescape": True}}],
    )
    django.setup()

from django.core.wsgi import get_wsgi_application
from django.db import connection, models
from django.http import HttpRequest, HttpResponse
from django.template import engines
from django.urls import path
from django.utils import timezone


class Alert(models.Model):
    """One row per fingerprint."""

    fingerprint = models.CharField(max_length=64, unique=True)
    status = models.CharField(max_length=12)
    name = models.CharField(max_length=120)
    severity = models.CharField(max_length=12)
    labels = models.JSONField()
    annotations = models.JSONField()
    received = models.DateTimeField(db_index=True)

    class Meta:
        app_label = "bench"


def upsert(request: HttpRequest) -> HttpResponse:
    """One sorted statement, then 202."""
    now = timezone.now()
    alerts: dict[str, Any] = {alert["fingerprint"]: alert for alert in json.loads(request.body)["alerts"]}
    rows = [
        Alert(
            fingerprint=key,
            status=alerts[key]["status"],
            name=alerts[key]["labels"]["alertname"],
            severity=alerts[key]["labels"].get("severity", ""),
            labels=alerts[key]["labels"],
            annotations=alerts[key]["annotations"],
            received=now,
        )
        for key in sorted(alerts)
    ]
    changing = ["status", "annotations", "received"]
    Alert.objects.bulk_create(rows, update_conflicts=True, unique_fields=["fingerprint"], update_fields=changing)
    return HttpResponse(b"{}", status=202)


def page(request: HttpRequest) -> HttpResponse:
    """The newest 200 rows by one query, four columns each."""
    return HttpResponse(_page.render({"rows": Alert.objects.order_by("-id")[:200]}, request))


_page = engines["jinja2"].from_string(
    "<!doctype html><title>Rows</title><table>{% for row in rows %}<tr><td>{{ row.received }}<td>{{ row.name }}"
    "<td>{{ row.severity }}<td>{{ row.labels }}{% endfor %}</table>"
)


def healthz(request: HttpRequest) -> HttpResponse:
    """Serving."""
    return HttpResponse("ok")


urlpatterns = [path("upsert", upsert), path("page", page), path("healthz", healthz)]
with connection.cursor() as cursor:
    if connection.vendor == "postgresql":
        # Several processes start at once; one of them makes the table.
        cursor.execute("SELECT pg_advisory_lock(1)")
    if Alert._meta.db_table not in connection.introspection.table_names():
        with connection.schema_editor() as editor:
            editor.create_model(Alert)
connection.close()
application = get_wsgi_application()

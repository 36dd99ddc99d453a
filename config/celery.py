"""The Celery app, its queues, and the clock: the whole beat table on one screen.

Messages are hints that carry row ids (docs/decisions/0004); losing all of them loses no work. Beat starts house jobs
only, and no run depends on it.
"""

from __future__ import annotations

import os
import uuid
from typing import Any

from celery import Celery
from celery.schedules import crontab
from celery.signals import before_task_publish, task_postrun, task_prerun
from django.conf import settings
from django.db import close_old_connections
from kombu import Queue

from config import broker

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
# Django's checks are run by `manage.py check` and in CI, not again by every worker that starts.
os.environ.setdefault("CELERY_SKIP_CHECKS", "1")

ROOMS = ["catalog", "incidents", "evaluations", "runbooks", "web"]
QUEUES = ("engine", "checks", "actions")
EMBEDDED = not settings.BACKSTOP.redis_url

# Without the fixup for Django: it imports the whole worker into every process that only publishes. What it does for
# us is the pair of receivers below; `manage.py worker` installs it where processes are forked.
app = Celery("backstop", broker=settings.BACKSTOP.redis_url or broker.URL, fixups=[])
app.conf.update(
    accept_content=["json"],
    task_serializer="json",
    result_backend=None,
    task_ignore_result=True,
    task_store_errors_even_if_ignored=False,
    # Early: a lost worker's step is found by its lease, and a message delivered twice would only be one more hint.
    task_acks_late=False,
    worker_prefetch_multiplier=1,
    task_soft_time_limit=None if EMBEDDED else 3600,
    task_time_limit=None if EMBEDDED else 3660,
    task_default_queue="engine",
    task_queues=[Queue(name, routing_key=name) for name in QUEUES],
    task_create_missing_queues=False,
    task_publish_retry=False,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    # Publishing may wait one second for Redis, never more; `manage.py worker` allows itself more to consume.
    broker_transport_options={}
    if EMBEDDED
    else {
        "socket_timeout": 1,
        "socket_connect_timeout": 1,
        "socket_keepalive": True,
        "retry_on_timeout": False,
        "max_retries": 0,
    },
    worker_enable_remote_control=False,
    worker_send_task_events=False,
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    worker_soft_shutdown_timeout=0,
    enable_utc=True,
    timezone="UTC",
    beat_schedule={
        "postmortem clocks": {"task": "incidents.check_clocks", "schedule": 300.0, "options": {"queue": "engine"}},
        "undelivered messages": {"task": "incidents.send_due", "schedule": 60.0, "options": {"queue": "engine"}},
        "signals of open incidents": {
            "task": "incidents.look_at_signals",
            "schedule": 60.0,
            "options": {"queue": "engine"},
        },
        "timeline heads": {
            "task": "incidents.keep_heads",
            "schedule": crontab(minute=7, hour=0),
            "options": {"queue": "engine"},
        },
        "tidying": {"task": "web.tidy", "schedule": crontab(minute=17, hour=4), "options": {"queue": "engine"}},
    },
)
app.autodiscover_tasks(ROOMS)
app.autodiscover_tasks(ROOMS, related_name="schedule")
# Without this a task called in a pool thread of the embedded mode would look for another app, and another broker.
app.set_default()


@before_task_publish.connect(weak=False)
def ids_only(body: Any = None, headers: dict[str, Any] | None = None, **_: Any) -> None:
    """Refuse to publish anything but ids, and keep even those out of the message's readable headers."""
    args, kwargs = (body[0], body[1]) if isinstance(body, tuple | list) else ((), {})
    for value in [*args, *kwargs.values()]:
        if not _is_id(value):
            raise TypeError(f"a message may carry ids only, not {type(value).__name__}")
    if headers is not None:
        headers["argsrepr"] = headers["kwargsrepr"] = ""


def _is_id(value: object) -> bool:
    if isinstance(value, int | uuid.UUID):
        return True
    return isinstance(value, str) and len(value) <= 64 and value.isprintable() and " " not in value


@task_prerun.connect(weak=False)
@task_postrun.connect(weak=False)
def fresh_connections(task: Any = None, **_: Any) -> None:
    """Give a pooled connection back after each task, and drop one that broke; never inside a caller's transaction."""
    if task is None or not task.request.is_eager:
        close_old_connections()

"""Entry point for uvicorn: `/live/` streams on the event loop; in the embedded mode everything else on threads.

In production this process serves `/live/` and its own health only; gunicorn serves the rest (config/wsgi.py).
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.asgi import get_asgi_application

from config import wsgi
from config.bridge import Bridge
from config.limits import Limits, Refused, answer

ELSEWHERE = Refused(404, "not_found", "This process serves live updates only.", "Ask the address in BACKSTOP_BASE_URL.")

streams = Limits(get_asgi_application())
pages = Bridge(wsgi.application)


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Streams to the event loop, everything else to threads."""
    if scope["type"] != "http":
        raise RuntimeError(f"Backstop does not speak {scope['type']}")
    path = scope["path"]
    if path.startswith("/live/"):
        await streams(scope, receive, send)
    elif settings.EMBEDDED or path in ("/healthz", "/readyz"):
        await pages(scope, receive, send)
    else:
        await answer(scope, send, ELSEWHERE)

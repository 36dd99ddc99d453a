"""`manage.py web`: pages, API and hooks in production."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.db import connections

from web.management.commands.worker import claim, refuse_unsafe
from web.operate import serve


class Command(BaseCommand):
    """Pages, API and hooks on threads."""

    help = "Serve pages, API and hooks by gunicorn until SIGTERM."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Where, and how much at a time."""
        parser.add_argument("--host", default="127.0.0.1", help="default 127.0.0.1")
        parser.add_argument("--port", type=int, default=8000, help="default 8000")
        parser.add_argument("--workers", type=int, default=2, help="processes (default 2)")
        parser.add_argument("--threads", type=int, default=4, help="requests at a time per process (default 4)")

    def handle(self, *args: Any, **options: Any) -> None:
        """Refuse in a sentence, or serve; ends with 0."""
        refuse_unsafe(pages=True)
        sock = claim(options["host"], options["port"])
        self.stdout.write(f"Serving pages at {options['host']}:{options['port']}.")
        self.stdout.flush()
        connections.close_all()
        serve.become_gunicorn(sock, workers=options["workers"], threads=options["threads"])

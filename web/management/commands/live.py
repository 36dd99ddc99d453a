"""`manage.py live`: live updates of open pages in production."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from web.management.commands.worker import claim, refuse_unsafe
from web.operate import serve


class Command(BaseCommand):
    """Event streams on one event loop."""

    help = "Serve live updates by uvicorn until SIGTERM."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Where, and how much at a time."""
        parser.add_argument("--host", default="127.0.0.1", help="default 127.0.0.1")
        parser.add_argument("--port", type=int, default=8001, help="default 8001")

    def handle(self, *args: Any, **options: Any) -> None:
        """Refuse in a sentence, or serve; ends with 0."""
        refuse_unsafe()
        sock = claim(options["host"], options["port"])
        self.stdout.write(f"Serving live updates at {options['host']}:{options['port']}.")
        self.stdout.flush()
        serve.run_streams(sock)

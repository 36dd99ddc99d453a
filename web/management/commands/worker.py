"""`manage.py worker`: a production worker process."""

from __future__ import annotations

import socket
import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from common.errors import DomainError
from web.operate import place, prepare, work


class Command(BaseCommand):
    """Execute steps of some queues, and tick."""

    help = "Work on queues (engine, checks, actions) until SIGTERM; ticks and takes over when the broker is silent."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Which queues, how many slots, and of what kind."""
        parser.add_argument("--queues", default=",".join(work.QUEUES), help="default: all three")
        parser.add_argument("--slots", type=int, default=4, help="steps at a time (default 4)")
        parser.add_argument("--pool", choices=work.POOLS, default="threads", help="threads (default) or prefork")

    def handle(self, *args: Any, **options: Any) -> None:
        """Work until SIGTERM; ends with 0 within 25 seconds."""
        refuse_unsafe()
        try:
            names = work.queues(options["queues"])
        except ValueError as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"Working on {', '.join(names)} with {options['slots']} {options['pool']} slots.")
        self.stdout.flush()
        sys.exit(work.run(names, pool=options["pool"], slots=options["slots"]))


def refuse_unsafe(*, pages: bool = False) -> None:
    """CommandError when this process must not start: embedded mode, or what `prepare.refusals` says."""
    if settings.EMBEDDED:
        raise CommandError("Without BACKSTOP_REDIS_URL everything runs in one process: `manage.py up` (or make run).")
    found = prepare.refusals(pages=pages)
    if found:
        raise CommandError("\n".join(found))


def claim(host: str, port: int) -> socket.socket:
    """The socket to serve on; CommandError when somebody has it."""
    try:
        return place.listen(host, port)
    except DomainError as error:
        raise CommandError(f"{error.sentence} {error.fix}") from None

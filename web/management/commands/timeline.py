"""`manage.py timeline verify`."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from incidents import timeline
from incidents.models import Incident


class Command(BaseCommand):
    """Check that no timeline was changed behind the application's back."""

    help = "verify: recompute every incident's hash chain; exit 0 when all are whole, 1 when one is not."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """What to do, and for which incident."""
        parser.add_argument("act", choices=["verify"])
        parser.add_argument("--incident", type=int, help="one incident number; default: all")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print each broken link; CommandError (exit 1) if there is one."""
        incidents = Incident.objects.order_by("number")
        if options["incident"]:
            incidents = incidents.filter(number=options["incident"])
        broken, heads = [], 0
        for incident in incidents.iterator(chunk_size=200):
            broken += timeline.broken_links(incident)
            heads += 1
        for sentence in broken:
            self.stdout.write(sentence)
        if broken:
            raise CommandError(f"{len(broken)} broken links in the timelines.", returncode=1)
        self.stdout.write(f"{heads} timelines are whole.")

"""`manage.py timeline verify`."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from common.errors import DomainError
from incidents import heads, timeline
from incidents.models import Incident


class Command(BaseCommand):
    """Check that no timeline was changed behind the application's back."""

    help = "verify: recompute every incident's hash chain; exit 0 when all are whole, 1 when one is not."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """What to do, and for which incident."""
        parser.add_argument("act", choices=["verify"])
        parser.add_argument("--incident", type=int, help="one incident number; default: all")
        parser.add_argument(
            "--heads", type=Path, help="also compare with a file of data/heads, or with all of that folder"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Print each broken link; CommandError (exit 1) if there is one."""
        incidents = Incident.objects.order_by("number")
        if options["incident"]:
            incidents = incidents.filter(number=options["incident"])
            if not incidents.exists():
                raise CommandError(f"There is no incident INC-{options['incident']}.", returncode=2)
        broken, seen = [], 0
        for incident in incidents.iterator(chunk_size=200):
            broken += timeline.broken_links(incident)
            seen += 1
        if options["heads"]:
            try:
                broken += heads.contradictions(options["heads"])
            except DomainError as error:
                raise CommandError(f"{error.sentence} {error.fix}", returncode=2) from None
        for sentence in broken:
            self.stdout.write(sentence)
        if broken:
            raise CommandError(f"{len(broken)} broken links in the timelines.", returncode=1)
        self.stdout.write("1 timeline is whole." if seen == 1 else f"{seen} timelines are whole.")

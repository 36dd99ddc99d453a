"""`manage.py restore FILE --yes`."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from common.errors import DomainError
from web.operate import backup, place


class Command(BaseCommand):
    """Replace the whole database by a copy; nothing that was under way acts again without a person."""

    help = "Replace the whole database by a copy made by `backup`. Stop every process first."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The copy, and the word that it is meant."""
        parser.add_argument("file", type=Path)
        parser.add_argument("--yes", action="store_true", help="replace what is there now")

    def handle(self, *args: Any, **options: Any) -> None:
        """Restore under the data folder's lock and say what was put in doubt."""
        if not options["yes"]:
            raise CommandError("This replaces everything that is in the database now. Say so with --yes.")
        try:
            lock = place.FolderLock(settings.BACKSTOP.data_dir) if settings.EMBEDDED else None
            doubt = backup.restore(options["file"])
        except DomainError as error:
            raise CommandError(f"{error.sentence} {error.fix}") from None
        if lock:
            lock.release()
        self.stdout.write(f"Restored. {doubt}")

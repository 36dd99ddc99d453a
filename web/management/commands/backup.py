"""`manage.py backup FILE`."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from common.errors import DomainError
from web.operate import backup


class Command(BaseCommand):
    """Copy the whole database into one file, while it is in use."""

    help = "Copy the whole database into one new file. Keep the secret keys apart from it: both are needed to restore."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The file to write."""
        parser.add_argument("file", type=Path)

    def handle(self, *args: Any, **options: Any) -> None:
        """Write the copy and say how large it is."""
        try:
            size = backup.save(options["file"])
        except DomainError as error:
            raise CommandError(f"{error.sentence} {error.fix}") from None
        self.stdout.write(f"{options['file']}: {size / 1024:.0f} KiB. Keep the secret keys too, in another place.")

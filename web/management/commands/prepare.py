"""`manage.py prepare`: what a production set-up needs before its processes start, also after an upgrade."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from runbooks import restored
from web.operate import prepare


class Command(BaseCommand):
    """Bring database, static files, shipped runbooks and the operator's folders up to date."""

    help = "Migrate, collect static files, load the shipped runbooks and your folders; safe to repeat. `up` needs none."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        """Say each step; CommandError names unsafe settings first, and faulty files once all others are loaded."""
        if settings.BACKSTOP_UNSAFE:
            raise CommandError("\n".join(settings.BACKSTOP_UNSAFE))
        waiting = prepare.pending()
        prepare.migrate()
        self.stdout.write(f"Database: {len(waiting)} migrations applied." if waiting else "Database: up to date.")
        if doubt := restored.finish():
            self.stdout.write(f"A restore that was cut off is finished: {doubt}")
        collected = prepare.collect()
        self.stdout.write(f"Static files: {'collected' if collected else 'in place'} in {settings.STATIC_ROOT}.")
        _, faults = prepare.seed()
        self.stdout.write("Shipped runbooks and folders: loaded.")
        if faults:
            raise CommandError("\n".join(faults))

"""`manage.py login_link [--user NAME]`: print a one-time way in."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from catalog import people
from catalog.models import User
from common.errors import DomainError


class Command(BaseCommand):
    """Print a login link that works once within an hour; the address is the last word of the output."""

    help = "Print a one-time login link, good for one hour."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """The person."""
        parser.add_argument("--user", default="admin", metavar="NAME", help="user name (default: admin)")

    def handle(self, *args: Any, **options: Any) -> None:
        """Make the link and print it."""
        name = str(options["user"])
        user = User.objects.filter(username__iexact=name).first()
        if user is None and name == "admin":
            user = people.first_user()
        if user is None:
            known = ", ".join(User.objects.values_list("username", flat=True)[:10]) or "none"
            raise CommandError(f"There is no user {name!r}. Known: {known}.")
        try:
            token = people.new_login_link(user)
        except DomainError as error:
            raise CommandError(f"{error.sentence} {error.fix}") from None
        self.stdout.write(f"{settings.BASE_URL}/login/link/{token}")

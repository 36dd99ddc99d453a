"""`manage.py api_token create --user NAME --name N --scopes a,b [--json]`: make a token for a program."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from catalog import people
from catalog.models import User
from catalog.permissions import SCOPES
from common.errors import DomainError


class Command(BaseCommand):
    """Make a token and print it once; it is kept as a hash only."""

    help = "Create an API token and print it once."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """create, and what for."""
        verbs = parser.add_subparsers(dest="verb", required=True)
        create = verbs.add_parser("create", help="make a token")
        create.add_argument("--user", required=True, metavar="NAME", help="whose token it is; it acts with their roles")
        create.add_argument("--name", required=True, metavar="N", help="what it is for")
        create.add_argument("--scopes", required=True, metavar="a,b", help=f"{', '.join(SCOPES)}, or *")
        create.add_argument("--days", type=int, default=90, help="how long it lives, at most 365 (default: 90)")
        create.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        """Make it and print it."""
        user = User.objects.filter(username__iexact=str(options["user"])).first()
        if user is None:
            raise CommandError(f"There is no user {options['user']!r}.")
        scopes = [scope.strip() for scope in str(options["scopes"]).split(",") if scope.strip()]
        try:
            token, secret = people.create_token(user, name=options["name"], scopes=scopes, days=options["days"])
        except DomainError as error:
            raise CommandError(f"{error.sentence} {error.fix}") from None
        if options["json"]:
            told = {
                "token": secret,
                "id": token.pk,
                "prefix": token.prefix,
                "user": user.username,
                "name": token.name,
                "scopes": token.scopes,
                "expires_at": token.expires_at.isoformat(),
            }
            self.stdout.write(json.dumps(told))
        else:
            self.stdout.write(f"{secret}\nIt is shown only now. It ends on {token.expires_at:%Y-%m-%d}.")

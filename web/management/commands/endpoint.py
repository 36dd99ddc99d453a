"""`manage.py endpoint create --source S --name N --team T …`: make an address for alerts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from catalog.models import Service, Team
from common.errors import DomainError
from incidents import endpoints
from incidents.sources import SOURCES


class Command(BaseCommand):
    """Make an alert endpoint and print its address and token."""

    help = "Create an alert endpoint and print its address."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """create, and of which kind."""
        verbs = parser.add_subparsers(dest="verb", required=True)
        create = verbs.add_parser("create", help="make an endpoint")
        create.add_argument("--source", required=True, metavar="S", help=f"one of {', '.join(SOURCES.names())}")
        create.add_argument("--name", required=True, metavar="N", help="how people know it")
        create.add_argument("--team", required=True, metavar="T", help="whose alerts these are")
        create.add_argument("--service", metavar="SLUG", help="the service that all of its alerts are about")
        create.add_argument("--config", type=Path, metavar="FILE.json", help="the source's configuration")
        create.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        """Make it and print its address."""
        team = Team.objects.filter(slug=options["team"]).first()
        if team is None:
            known = ", ".join(Team.objects.values_list("slug", flat=True)[:10]) or "none"
            raise CommandError(f"There is no team {options['team']!r}. Known: {known}.")
        service = None
        if options["service"]:
            service = Service.objects.filter(slug=options["service"], team=team).first()
            if service is None:
                raise CommandError(f"Team {team.slug} has no service {options['service']!r}.")
        try:
            endpoint, token = endpoints.create(
                source=options["source"],
                name=options["name"],
                team=team,
                service=service,
                config=_config(options["config"]),
            )
        except DomainError as error:
            raise CommandError(f"{error.sentence} {error.fix}".strip()) from None
        url, path = endpoints.url(endpoint, token), endpoints.path(endpoint, token)
        if options["json"]:
            self.stdout.write(json.dumps({"url": url, "path": path, "token": token, "id": endpoint.pk}))
        else:
            self.stdout.write(f"{endpoint.name} takes {endpoint.source} alerts at\n{url}")


def _config(file: Path | None) -> dict[str, Any] | None:
    if file is None:
        return None
    try:
        config = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise CommandError(f"{file} cannot be read as JSON: {error}") from None
    if not isinstance(config, dict):
        raise CommandError(f"{file} must hold one JSON object.")
    return config

"""`manage.py effects status|stop|allow --reason "…"`: the kill switch, for who has a shell and no browser."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from catalog.actors import Actor
from common.errors import DomainError
from runbooks import killswitch

# Whoever may run this may change every row anyway; the timeline says from where it was done.
OPERATOR = Actor("operator (command line)", "operator")


class Command(BaseCommand):
    """Stop all effects at once, or allow them again."""

    help = "status: are effects stopped; stop: stop them all, everywhere; allow: let them go on."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """What to do, and why."""
        parser.add_argument("act", choices=["status", "stop", "allow"])
        parser.add_argument("--reason", default="", help="why; everybody reads it")
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        """Do it and say how it stands; CommandError when there is no reason, or nothing to do."""
        try:
            if options["act"] == "stop":
                killswitch.pull(reason=options["reason"], actor=OPERATOR)
            elif options["act"] == "allow":
                killswitch.release(reason=options["reason"], actor=OPERATOR)
        except DomainError as error:
            raise CommandError(f"{error.sentence} {error.fix}".strip()) from None
        held, waiting = killswitch.engaged(), killswitch.waiting_actions().count()
        if options["json"]:
            by, reason = (held.pulled_by, held.reason) if held else (None, None)
            self.stdout.write(json.dumps({"stopped": bool(held), "by": by, "reason": reason, "waiting": waiting}))
        elif held:
            self.stdout.write(
                f"All effects are stopped by {held.pulled_by} since {held.pulled_at:%Y-%m-%d %H:%M:%S} UTC: "
                f"{held.reason}\n{waiting} actions have not ended."
            )
        else:
            self.stdout.write(f"Effects are allowed. {waiting} actions have not ended.")

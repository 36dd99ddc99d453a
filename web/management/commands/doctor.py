"""`manage.py doctor`."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from web.operate import doctor

SIGNS = {"ok": "ok      ", "warning": "warning ", "problem": "PROBLEM "}


class Command(BaseCommand):
    """Look over this installation and say what to mend."""

    help = "Check Python, data folder, port, clock, broker, database, workers and connections; exit 1 on a problem."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """For people or for programs."""
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print each finding as it comes; CommandError (exit 1) when one is a problem."""
        found = []
        for finding in doctor.look():
            found.append(finding)
            if not options["json"]:
                line = f"{SIGNS[finding.level]}{finding.what}: {finding.seen}"
                self.stdout.write(f"{line}\n        -> {finding.fix}" if finding.fix else line)
        if options["json"]:
            self.stdout.write(json.dumps({"findings": [asdict(f) for f in found]}, indent=1))
        problems = sum(f.level == "problem" for f in found)
        if problems:
            raise CommandError(f"{problems} problem{'s' * (problems > 1)} found.", returncode=1)

"""manage.py runbook lint|schema|plan|test: runbooks as files, without a database or network."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand

from common import yaml
from common.yaml import FileFaults, Finding
from runbooks import library, schema

CLEAN, FINDINGS, USAGE = 0, 1, 2


class Command(BaseCommand):
    """Exit code 0: clean, 1: findings, 2: wrong usage."""

    help = "Check runbook files (lint) or print the JSON Schema of the language (schema)."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Sub-command, paths and --json."""
        parser.add_argument("what", choices=["lint", "schema", "plan", "test"])
        parser.add_argument("paths", nargs="*", metavar="PATH", help="Files or folders; the shipped library if none.")
        parser.add_argument("--json", action="store_true", dest="as_json", help="Machine-readable output.")

    def handle(self, *args: Any, what: str, paths: list[str], as_json: bool, **options: Any) -> None:
        """Run the sub-command and leave with its exit code."""
        if what == "schema":
            self.stdout.write(json.dumps(schema.json_schema(), indent=2))
        elif what == "lint":
            self._lint(paths, as_json=as_json)
        else:
            self.stderr.write(f"`runbook {what}` is not there yet; `runbook lint` checks files.")
            sys.exit(USAGE)

    def _lint(self, paths: list[str], *, as_json: bool) -> None:
        chosen: list[Path] = []
        for given in [Path(path) for path in paths] or [library.FOLDER]:
            if given.is_dir():
                chosen += library.files(given)
            elif given.is_file():
                chosen.append(given)
            else:
                self.stderr.write(f"There is no file or folder {given}.")
                sys.exit(USAGE)
        findings = [finding for path in chosen for finding in _findings(path)]
        if as_json:
            self.stdout.write(json.dumps({"findings": [finding.as_dict() for finding in findings]}, indent=2))
        else:
            for finding in findings:
                self.stdout.write(str(finding))
            files = f"{len(chosen)} file{'' if len(chosen) == 1 else 's'}"
            self.stdout.write(f"{files}: {len(findings) or 'no'} finding{'' if len(findings) == 1 else 's'}.")
        if findings:
            sys.exit(FINDINGS)


def _findings(path: Path) -> list[Finding]:
    try:
        with path.open("rb") as file:
            text = yaml.decode(file.read(yaml.MAX_BYTES + 1), file=str(path))
    except FileFaults as faults:
        return faults.findings
    except OSError as error:
        return [Finding(str(path), 1, 1, "RB070", "error", f"The file cannot be read: {error.strerror}.")]
    return schema.check(text, file=str(path))

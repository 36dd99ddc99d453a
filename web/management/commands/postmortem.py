"""`manage.py postmortem lint|draft|export`: the postmortem from the command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import DatabaseError

from catalog.actors import ENGINE
from common.errors import DomainError, NotFound
from incidents import postmortem_export, postmortem_lint, postmortems
from incidents.models import Incident
from web.pages import figures

STATIC = Path(__file__).parents[2] / "static"


class Command(BaseCommand):
    """Exit codes: 0 clean or advice only, 1 something to change, 2 wrong use."""

    help = "Check, draft or export a postmortem."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """The three verbs."""
        verbs = parser.add_subparsers(dest="verb", required=True)
        lint = verbs.add_parser("lint", help="check the language of a Markdown file; needs no database")
        lint.add_argument("file", help="a path, or - for standard input")
        lint.add_argument("--json", action="store_true")
        draft = verbs.add_parser("draft", help="draft the postmortem of an incident from its timeline")
        draft.add_argument("number", help="42 or INC-42")
        draft.add_argument("--regenerate", action="store_true", help="also over an edited text, which stays an edition")
        export = verbs.add_parser("export", help="print a postmortem")
        export.add_argument("number", help="42 or INC-42")
        export.add_argument("--format", choices=["md", "html", "json", "pdf"], default="md")

    def handle(self, *args: Any, **options: Any) -> None:
        """Call the verb; a refusal is one sentence."""
        try:
            {"lint": self._lint, "draft": self._draft, "export": self._export}[options["verb"]](options)
        except DomainError as error:
            self.stderr.write(" ".join(part for part in (error.sentence, error.fix) if part))
            sys.exit(2)

    def _lint(self, options: dict[str, Any]) -> None:
        try:
            text = sys.stdin.read() if options["file"] == "-" else Path(options["file"]).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            self.stderr.write(f"{options['file']} cannot be read: {error}")
            sys.exit(2)
        try:
            names = postmortem_lint.known_names()
        except DatabaseError:
            # Offline, or before the first run: names of people are then not looked for.
            names = []
        found = postmortem_lint.findings(text, names=names)
        if options["json"]:
            rows = [{"file": options["file"], **one.data()} for one in found]
            self.stdout.write(json.dumps({"findings": rows}, ensure_ascii=False, indent=2))
        else:
            for one in found:
                place = f"{options['file']}:{one.line}:{one.column}"
                self.stdout.write(f"{place}: {one.severity} {one.code} {one.message} {one.fix}")
            self.stdout.write(_count(found))
        if postmortem_lint.blocking(found):
            sys.exit(1)

    def _draft(self, options: dict[str, Any]) -> None:
        incident = _incident(options["number"])
        made = postmortems.draft(incident, actor=ENGINE, regenerate=options["regenerate"])
        self.stdout.write(f"{incident.key}: edition {made.edition}, {len(made.body)} characters")

    def _export(self, options: dict[str, Any]) -> None:
        found = postmortems.of_incident(_incident(options["number"]))
        if options["format"] == "pdf":
            self.stderr.write("PDF is not made here: export as html and print it to a file from a browser.")
            sys.exit(2)
        if options["format"] == "json":
            self.stdout.write(json.dumps(postmortem_export.data(found), ensure_ascii=False, indent=2))
        elif options["format"] == "html":
            # A file has no server beside it, so its styles come along.
            css = "\n".join((STATIC / name).read_text("utf-8") for name in ("charts.css", "print.css"))
            self.stdout.write(postmortem_export.html(found, css=css, figures=figures.of_postmortem(found)), ending="")
        else:
            self.stdout.write(postmortem_export.markdown(found), ending="")


def _count(found: list[postmortem_lint.Finding]) -> str:
    errors = len(postmortem_lint.blocking(found))
    advice = f"{len(found) - errors} to consider" if len(found) > errors else ""
    return ", ".join(part for part in (f"{errors} to change" if errors else "", advice) if part) or "clean"


def _incident(number: str) -> Incident:
    digits = number.upper().removeprefix("INC-")
    found = Incident.objects.filter(number=int(digits)).first() if digits.isdigit() and len(digits) < 10 else None
    if found is None:
        raise NotFound(f"There is no incident {number}.")
    return found

"""`manage.py evaluation load|result FILE.jsonl`: evaluation sets and result files for comparing two versions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from catalog.actors import ENGINE
from catalog.models import Team
from common.errors import DomainError
from evaluations import sets
from runbooks.checks import eval_compare


class Command(BaseCommand):
    """Load a set, or keep a result file; a refusal names the file and its line."""

    help = "Load an evaluation set, or keep a result file for eval.compare."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """The two verbs."""
        verbs = parser.add_subparsers(dest="verb", required=True)
        load = verbs.add_parser("load", help="make a team's set, or add to it the cases that it lacks")
        load.add_argument("file", type=Path, metavar="FILE.jsonl")
        load.add_argument("--team", required=True, metavar="T", help="whose set it is")
        load.add_argument("--slug", required=True, metavar="S", help="what the service's file calls it")
        load.add_argument("--title", default="", help="what people call it")
        result = verbs.add_parser("result", help="keep what a version scored; prints the sha256 for old_file, new_file")
        result.add_argument("file", type=Path, metavar="FILE.jsonl")
        for verb in (load, result):
            verb.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        """Call the verb and print what came of it."""
        file: Path = options["file"]
        try:
            content = file.read_bytes()
            line, told = self._load(content, options) if options["verb"] == "load" else _result(content)
        except OSError as error:
            raise CommandError(f"{file} cannot be read: {error.strerror}.") from None
        except UnicodeDecodeError:
            raise CommandError(f"{file} is not UTF-8 text.") from None
        except DomainError as error:
            raise CommandError(f"{file}: {error.sentence} {error.fix}".strip()) from None
        self.stdout.write(json.dumps(told) if options["json"] else line)

    def _load(self, content: bytes, options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        team = Team.objects.filter(slug=options["team"]).first()
        if team is None:
            known = ", ".join(Team.objects.values_list("slug", flat=True)[:10]) or "none"
            raise CommandError(f"There is no team {options['team']!r}. Known: {known}.")
        text = content.decode("utf-8-sig")
        loaded = sets.load(team, slug=options["slug"], text=text, title=options["title"], actor=ENGINE)
        kept = {"slug": loaded.evaluation_set.slug, "added": loaded.added, "duplicates": loaded.duplicates}
        return str(loaded), {**kept, "cases": loaded.evaluation_set.cases.count()}


def _result(content: bytes) -> tuple[str, dict[str, Any]]:
    sha256 = eval_compare.keep_results(content)
    return sha256, {"sha256": sha256}

"""manage.py runbook lint|test|schema|diff: runbooks as files; `plan` runs one dry, in the database."""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
from argparse import ArgumentParser
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from django.conf import settings
from django.core.management.base import BaseCommand
from django.core.serializers.json import DjangoJSONEncoder
from django.db import DatabaseError

from common import clock
from common.errors import DomainError
from common.yaml import FileFaults, Finding
from runbooks import children, compare, exercised, files, library, schema
from runbooks.models import Revision, Run, Runbook, StepRun
from runbooks.testing import cases, report
from runbooks.testing.report import Report
from runbooks.testing.stage import stage

CLEAN, FINDINGS, USAGE = 0, 1, 2


class Command(BaseCommand):
    """Exit code 0: clean, 1: findings, 2: wrong usage."""

    help = "Check runbook files (lint), play their tests (test), run one dry (plan), compare two (diff)."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """One sub-command with its own options."""
        verbs = parser.add_subparsers(dest="what", required=True)

        def verb(name: str, does: Callable[..., None], text: str) -> ArgumentParser:
            added = verbs.add_parser(name, help=text, description=text)
            added.set_defaults(does=does)
            added.add_argument("--json", action="store_true", dest="as_json", help="Machine-readable output.")
            return added

        lint = verb("lint", self._lint, "Say everything that is wrong with runbooks.")
        test = verb("test", self._test, "Play the tests of runbooks: the real engine, in memory, on a virtual clock.")
        for added in (lint, test):
            added.add_argument(
                "paths", nargs="*", metavar="PATH", help="Files or folders; the shipped library if none."
            )
        test.add_argument("--coverage", action="store_true", help="A branch that no case takes is a finding.")
        test.add_argument("--thresholds", action="store_true", help="So is a number that could be moved unnoticed.")
        test.add_argument("--processes", type=int, default=min(4, os.cpu_count() or 1), help="Played side by side.")
        test.add_argument("--cpu-seconds", type=int, help="End this process after so much work (for servers).")
        test.add_argument("--memory-mib", type=int, help="Let it have no more memory than that.")
        planned = verb("plan", self._plan, "Run one dry: checks run, actions only say what they would change.")
        planned.add_argument("runbook", metavar="PATH", help="A file, or the id of a runbook.")
        planned.add_argument("--service", default="", help="The service it is about.")
        planned.add_argument("--team", default="", help="Whose run it is, where no service or incident tells.")
        planned.add_argument("--input", action="append", default=[], metavar="NAME=VALUE", help="An input.")
        planned.add_argument("--incident", type=int, help="The number of the incident it is about.")
        planned.add_argument("--seconds", type=float, default=600, help="How long it is waited for.")
        compared = verb("diff", self._diff, "Say what differs between two runbooks, step by step.")
        for side in ("old", "new"):
            compared.add_argument(side, help="A file, an id (its text in use), or id@3 (its revision 3).")
        printed = verb("schema", self._schema, "Print the JSON Schema of runbooks, or of their tests.")
        printed.add_argument("of", nargs="?", choices=["runbook", "test"], default="runbook")

    def handle(self, *args: Any, does: Callable[..., None], **options: Any) -> None:
        """Run the sub-command and leave with its exit code."""
        if not gc.isenabled():
            gc.freeze()
            gc.enable()
        does(**options)

    def _schema(self, *, of: str, **options: Any) -> None:
        self.stdout.write(json.dumps(schema.json_schema() if of == "runbook" else cases.json_schema(), indent=2))

    def _lint(self, *, paths: list[str], as_json: bool, **options: Any) -> None:
        chosen = self._chosen(paths, library.files)
        findings = [finding for path in chosen for finding in _findings(path, given=chosen)]
        findings += [finding for path in chosen for finding in _not_exercised(path)]
        if as_json:
            self._print({}, findings)
        else:
            for finding in findings:
                self.stdout.write(str(finding))
            self.stdout.write(f"{_count(len(chosen), 'file')}: {_count(len(findings), 'finding')}.")
        if findings:
            sys.exit(FINDINGS)

    def _test(
        self, *, paths: list[str], as_json: bool, coverage: bool, thresholds: bool, processes: int, **options: Any
    ) -> None:
        if options["cpu_seconds"]:
            resource.setrlimit(resource.RLIMIT_CPU, (options["cpu_seconds"], options["cpu_seconds"]))
        if options["memory_mib"]:
            resource.setrlimit(resource.RLIMIT_AS, (options["memory_mib"] << 20, options["memory_mib"] << 20))
        chosen = self._chosen(paths, report.files)
        if not chosen:
            self._usage(f"There is no file *{report.ENDING} here or in a folder `tests`.")
        with stage(max(1, processes)) as played_on:
            reports = [report.run_file(path, played_on, thresholds=thresholds) for path in chosen]
        for one in reports:
            one.findings += [*(one.missed if coverage else []), *(one.survivors or [])]
        findings = [finding for one in reports for finding in one.findings]
        if as_json:
            self._print({"tests": [one.as_dict() for one in reports]}, findings)
        else:
            for one in reports:
                self._tell(one)
        if findings:
            sys.exit(FINDINGS)

    def _plan(self, *, runbook: str, input: list[str], seconds: float, as_json: bool, **options: Any) -> None:  # noqa: A002
        # The API takes as long to import as all the rest, and the other verbs run in an editor or a hook.
        from web.api import shapes  # noqa: PLC0415
        from web.operate import plan  # noqa: PLC0415

        if any("=" not in pair for pair in input):
            self._usage("An input is given as NAME=VALUE.")
        wanted = {name: options[name] for name in ("service", "team", "incident")}
        try:
            begun = plan.start(runbook, inputs=dict(pair.split("=", 1) for pair in input), **wanted)
        except DomainError as error:
            self.stderr.write(f"{error.sentence} {error.fix}".strip())
            sys.exit(FINDINGS)
        run = plan.carry_out(begun, seconds=seconds)
        below = children.below(run)
        rows = list(StepRun.objects.filter(run__in=[run, *below]).order_by("position", "item"))
        if as_json:
            told = {"findings": [], "run": shapes.run(run), "children": [shapes.run(child) for child in below]}
            self.stdout.write(json.dumps(told, indent=2, cls=DjangoJSONEncoder))
        else:
            self._tell_plan(run, rows, below)
            name = f"{run.runbook.slug} revision {run.revision.number}"
            self.stdout.write(f"Dry run of {name}, {run.state}: {shapes.link(f'/runs/{run.uuid}')}")
        if run.is_open or any(row.verdict == "error" for row in rows):
            sys.exit(FINDINGS)

    def _tell_plan(self, run: Run, rows: list[StepRun], below: list[Run], depth: int = 0) -> None:
        """A line for each step, and below one that runs another runbook those of what it ran."""
        for row in [row for row in rows if row.run_id == run.pk]:
            self.stdout.write(f"{'  ' * depth}{row.phase:9} {row.step}: {row.verdict or row.state}. {row.summary}")
            for child in [child for child in below if child.parent_step_id == row.pk]:
                self._tell_plan(child, rows, below, depth + 1)

    def _diff(self, *, old: str, new: str, as_json: bool, **options: Any) -> None:
        found = compare.texts(self._text(old), self._text(new))
        if as_json:
            self.stdout.write(json.dumps(asdict(found), indent=2))
        else:
            for field in found.head:
                self.stdout.write(f"{field.name}: {_change(field)}")
            for step in found.steps:
                self.stdout.write(f"{step.phase} {step.id}: {', '.join(step.kinds)} {step.where}".rstrip())
                for field in step.fields:
                    self.stdout.write(f"  {field.name}: {_change(field)}")
            differs = _count(len(found.steps), "step")
            self.stdout.write(f"{differs} {'differ' if len(found.steps) != 1 else 'differs'}, {found.same} the same.")
        if not found.is_empty:
            sys.exit(FINDINGS)

    def _text(self, given: str) -> str:
        """The text of a file, or of a revision in the database."""
        if Path(given).is_file():
            try:
                return files.text_of(Path(given))
            except FileFaults as faults:
                self._usage(str(faults))
        slug, _, number = given.partition("@")
        rows = Revision.objects.filter(runbook__slug=slug)
        row = (
            rows.filter(number=int(number)).first()
            if number.isdecimal()
            else rows.filter(pk__in=Runbook.objects.filter(slug=slug).values("current")).first()
            if not number
            else None
        )
        if row is None:
            self._usage(f"There is no file and no revision {given}.")
        return row.text

    def _tell(self, one: Report) -> None:
        for case in one.cases:
            self.stdout.write(f"  {'passed' if case.passed else 'FAILED'}  {case.name}")
        for finding in one.findings:
            self.stdout.write(str(finding))
        failed = sum(not case.passed for case in one.cases)
        number = _count(len(one.cases), "case")
        said = "not played" if not one.cases else f"{failed} of {number} failed" if failed else f"{number} passed"
        if one.coverage:
            said += f", {one.coverage['taken']} of {one.coverage['branches']} branches taken"
        self.stdout.write(f"{one.file}: {said}, in {one.seconds:.2f} s.")

    def _chosen(self, paths: list[str], inside: Callable[[Path], list[Path]]) -> list[Path]:
        chosen: list[Path] = []
        for given in [Path(path) for path in paths] or [library.FOLDER]:
            if given.is_dir():
                chosen += inside(given)
            elif given.is_file():
                chosen.append(given)
            else:
                self._usage(f"There is no file or folder {given}.")
        return chosen

    def _print(self, more: dict[str, Any], findings: list[Finding]) -> None:
        self.stdout.write(json.dumps({"findings": [finding.as_dict() for finding in findings], **more}, indent=2))

    def _usage(self, sentence: str) -> NoReturn:
        self.stderr.write(sentence)
        sys.exit(USAGE)


def _findings(path: Path, *, given: list[Path]) -> list[Finding]:
    try:
        text = files.text_of(path)
    except FileFaults as faults:
        return faults.findings
    return schema.check(text, file=str(path), others=files.beside(path, given))


def _not_exercised(path: Path) -> list[Finding]:
    """RT040, where there is a database that knows the runbook; lint needs none."""
    given = settings.DATABASES["default"]
    if "sqlite" in given["ENGINE"] and not Path(given["NAME"]).exists():
        return []
    try:
        known = Runbook.objects.written().filter(slug=path.stem, deleted_at=None).first()
        said = exercised.sentence(known, now=clock.now()) if known else ""
    except DatabaseError:
        return []
    fix = "Start it in a drill, or play its tests on its page."
    return [Finding(str(path), 1, 1, "RT040", "warning", said, fix)] if said else []


def _change(field: compare.FieldChange) -> str:
    if field.before is None:
        return f"+ {field.after}"
    return f"- {field.before}" if field.after is None else f"{field.before} → {field.after}"


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"

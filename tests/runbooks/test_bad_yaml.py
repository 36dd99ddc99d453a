"""Bad runbooks (Y1 to Y9 of the promises) through every door: findings with code, place and fix, never a crash."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client

from catalog.models import Team
from runbooks import schema
from runbooks.models import Revision
from runbooks.schema import RunbookFaults
from tests.factories import make_user
from tests.runbooks.bad_texts import EXPRESSIONS, WORK, YAML, expression_in

ROOT = Path(__file__).parents[2]
# A machine that others use too lets processor time grow by some factor; a bomb takes minutes.
BUSY = 2
Findings = list[dict[str, Any]]
# One of each code; a form and JSON carry no byte-order mark or NUL as they stand, the other doors show those.
TYPED = {code: text for name, (text, code) in YAML.items() if name not in ("Y7 byte-order mark", "Y7 NUL")}


def by_parse(text: str, folder: Path) -> Findings:
    with pytest.raises(RunbookFaults) as caught:
        schema.parse(text, file="sample.yaml")
    return [finding.as_dict() for finding in caught.value.findings]


def by_command(text: str, folder: Path) -> Findings:
    file, out = folder / "sample.yaml", StringIO()
    file.write_text(text)
    with pytest.raises(SystemExit) as left:
        call_command("runbook", "lint", str(file), "--json", stdout=out)
    assert left.value.code == 1
    return list(json.loads(out.getvalue())["findings"])


@pytest.mark.django_db
@pytest.mark.parametrize("door", [by_parse, by_command])
@pytest.mark.parametrize("name", YAML)
def test_a_bad_text_is_told_by_code_place_and_fix(
    name: str, door: Callable[[str, Path], Findings], tmp_path: Path
) -> None:
    text, code = YAML[name]
    tell(door(text, tmp_path), code)


def tell(findings: Findings, code: str) -> None:
    assert code in {finding["code"] for finding in findings}
    for finding in findings:
        assert finding["line"] >= 1, finding
        assert finding["column"] >= 1, finding
        assert finding["fix"], finding


@pytest.mark.django_db
def test_the_editor_and_the_api_say_the_same_and_keep_nothing(team: Team, client: Client) -> None:
    client.force_login(make_user("anna", team=team))
    for code, text in TYPED.items():
        told = client.post("/runbooks/new/lint", {"text": text, "team": team.slug})
        tell(told.json()["findings"], code)
        form = {"text": text, "team": team.slug, "note": ""}
        for sent in (form, form | {"check": "1"}):
            page = client.post("/runbooks/new", sent)
            assert (page.status_code, code in page.content.decode()) == (422 if sent is form else 200, True), code
        answer = client.post("/api/v1/runbooks", {"text": text, "team": team.slug}, content_type="application/json")
        assert (answer.status_code, answer["Content-Type"]) == (422, "application/problem+json"), code
        tell(answer.json()["findings"], code)
    assert not Revision.objects.filter(source="editor").exists()


@pytest.mark.django_db
def test_the_api_checks_without_keeping_and_keeps_a_draft(team: Team, client: Client) -> None:
    client.force_login(make_user("anna", team=team))
    head = "spec: 1\nid: mine\ntitle: Mine\nincident_type: other\nowner: team:default\n"
    text = head + "phases: {check: [{id: a, wait: 1m}]}"

    def send(**more: object) -> Any:
        return client.post("/api/v1/runbooks", {"text": text, **more}, content_type="application/json")

    looked = send(check_only=True)
    assert (looked.status_code, looked.json()) == (200, {"findings": [], "runbook": None, "revision": None})
    kept = send(note="By program")
    assert (kept.status_code, kept.json()["runbook"], kept.json()["revision"]) == (201, "mine", 1)
    assert Revision.objects.get(source="editor").published_at is None
    text = text.replace("1m", "2m")
    assert send(begun_from=0).status_code == 409
    wrong = send(check_only=True, text=text.replace("2m", "60")).json()["findings"]
    assert [(row["code"], row["line"], row["guide"].partition("/guide")[2]) for row in wrong] == [
        ("RB052", 6, "/runbook-errors#rb052")
    ]


def test_each_worst_case_ends_within_two_seconds_and_256_mib() -> None:
    process = subprocess.run(
        [sys.executable, "-m", "tests.runbooks.linting"], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert process.returncode == 0, process.stderr[-2000:]
    found = json.loads(process.stdout)
    slow = {name: row for name, row in found.items() if row["seconds"] > 2 * BUSY}
    assert slow == {}
    assert [name for name, row in found.items() if not row["codes"]] == []
    assert len(found) == len(set(found)) > len(YAML) + 2 * len(EXPRESSIONS) + len(WORK)


def test_an_author_cannot_lower_the_risk_that_an_action_claims() -> None:
    step = "\n  remediate:\n    - {id: b, action: model.rollback, risk: low, irreversible: x}\n"
    text = expression_in("value > 1").partition("  remediate:")[0].rstrip() + step
    found = {finding.code: finding for finding in schema.check(text, file="sample.yaml")}
    assert "at least of" in found["RB046"].message
    assert "RB047" in found, "the risk is what the action claims, so somebody must be asked"

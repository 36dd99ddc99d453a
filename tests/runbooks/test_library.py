"""The shipped runbooks are sound, run on what exists now, and come into the database once."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command

from catalog.models import Team
from common.yaml import decode
from incidents.models import Incident
from runbooks import library, revisions, schema
from runbooks.models import Revision, Runbook
from tests.factories import make_actor
from tests.factories_language import RUNBOOK

SHIPPED = library.files(library.FOLDER)


def text_of(path: Path) -> str:
    return decode(path.read_bytes(), file=path.name)


def test_it_ships_five_runbooks() -> None:
    names = ["accuracy_drop", "cost_explosion", "data_issue", "latency_spike", "safety_incident"]
    assert [path.stem for path in SHIPPED] == names


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_it_has_no_finding(path: Path) -> None:
    assert schema.check(text_of(path), file=path.name, principals={"team:default", "role:oncall"}) == []
    spec = schema.parse(text_of(path), file=path.name)
    assert spec.incident_type == spec.id
    assert {phase for phase, _ in spec.steps()} == {"check", "measure", "triage", "remediate", "verify"}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_it_asks_questions_and_asks_people_before_it_acts(path: Path) -> None:
    spec = schema.parse(text_of(path), file=path.name)
    for _, step in spec.steps():
        assert step.name, step.id
        if step.kind == "check":
            assert step.name.endswith("?"), step.name
        if step.provider == "model.rollback":
            assert step.approval is not None  # type: ignore[union-attr]
            assert step.lock is not None  # type: ignore[union-attr]


def test_it_loads_once(db: None) -> None:
    first = library.load_shipped()
    again = library.load_shipped()
    assert [runbook.pk for runbook in first] == [runbook.pk for runbook in again]
    assert Revision.objects.count() == Runbook.objects.count() == 5
    assert all(runbook.current is not None and runbook.team is None for runbook in again)
    assert all(runbook.current.source == "library" for runbook in again if runbook.current)


def test_it_keeps_a_local_edit_and_offers_the_new_one(
    team: Team, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for path in SHIPPED:
        (tmp_path / path.name).write_text(text_of(path))
    library.load_shipped()
    runbook = Runbook.objects.get(slug="data_issue")
    actor = make_actor(team)
    assert actor.user is not None
    actor.user.is_org_admin = True
    edited = revisions.save(
        runbook,
        text=text_of(library.FOLDER / "data_issue.yaml") + "# ours\n",
        actor=actor,
        team=team,
        note="",
        source="editor",
    )
    revisions.publish(edited, actor=actor)
    (tmp_path / "data_issue.yaml").write_text(text_of(library.FOLDER / "data_issue.yaml") + "# release 2\n")
    monkeypatch.setattr(library, "FOLDER", tmp_path)
    library.load_shipped()
    runbook.refresh_from_db()
    assert runbook.current == edited
    offered = library.offered(runbook)
    assert offered is not None
    assert offered.text.endswith("# release 2\n")


def test_it_publishes_a_newer_file(team: Team, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text_of(library.FOLDER / "data_issue.yaml").replace("id: data_issue", "id: mine", 1))
    library.load_folder(tmp_path, team)
    file.write_text(file.read_text().replace("title: Data", "title: New data", 1))
    [runbook] = library.load_folder(tmp_path, team).runbooks
    assert (runbook.title, runbook.team) == ("New data issue upstream of a model", team)
    assert runbook.current is not None
    assert (runbook.current.number, runbook.current.source) == (2, "file")


def test_it_loads_the_others_when_one_file_is_faulty(team: Team, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("spec: 7\n")
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe")
    (tmp_path / "mine.yaml").write_text(
        text_of(library.FOLDER / "data_issue.yaml").replace("id: data_issue", "id: mine", 1)
    )
    loaded = library.load_folder(tmp_path, team)
    assert [runbook.slug for runbook in loaded.runbooks] == ["mine"]
    assert {finding.file for finding in loaded.findings} == {"a.yaml", "b.yaml"}
    assert not Incident.objects.exists()


def lint(*paths: object, as_json: bool = False) -> tuple[int, str]:
    out = StringIO()
    try:
        call_command("runbook", "lint", *map(str, paths), *(["--json"] if as_json else []), stdout=out, stderr=out)
    except SystemExit as left:
        return int(left.code or 0), out.getvalue()
    return 0, out.getvalue()


def test_it_lints_from_the_command_line(db: None, tmp_path: Path) -> None:
    assert lint() == (0, "5 files: no findings.\n")
    (tmp_path / "sample.yaml").write_text(RUNBOOK)
    code, told = lint(tmp_path / "sample.yaml", as_json=True)
    assert code == 1
    first = json.loads(told)["findings"][0]
    assert set(first) == {"file", "line", "column", "code", "severity", "message", "fix"}
    assert first["code"] == "RB040"
    assert lint(tmp_path / "nothing.yaml")[0] == 2


def test_it_prints_the_schema() -> None:
    out = StringIO()
    call_command("runbook", "schema", stdout=out)
    assert json.loads(out.getvalue())["properties"]["spec"]

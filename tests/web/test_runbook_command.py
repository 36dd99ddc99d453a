"""manage.py runbook plan and diff, as other programs call them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command

from catalog.models import Team
from runbooks.models import Revision, Run
from tests.factories import make_incident, make_service
from tests.factories_runbooks import HEAD, make_runbook
from tests.fakes.world import World, known

STEPS = """\
  check:
    - {id: look, check: world.ask, fail_if: value > 0.5}
  remediate:
    - {id: act, action: world.set, approval: {from: [role:oncall]}, lock: x, irreversible: A test.}
"""


@pytest.fixture
def world() -> Iterator[World]:
    """A world that answers."""
    with known() as found:
        yield found


def command(*words: str) -> tuple[int, str, str]:
    """Exit code, output and errors."""
    out, err = StringIO(), StringIO()
    try:
        call_command("runbook", *words, stdout=out, stderr=err)
    except SystemExit as left:
        return int(left.code or 0), out.getvalue(), err.getvalue()
    return 0, out.getvalue(), err.getvalue()


def test_plan_runs_a_runbook_dry_without_any_worker(world: World, team: Team) -> None:
    service = make_service(team, "rag-chat")
    incident = make_incident(team, service)
    head = "inputs: {service: {type: string}, most: {type: integer, default: 3}}\n"
    make_runbook(team, STEPS, slug="dry_one", head=head)
    code, out, err = command(
        "plan", "dry_one", "--service", "rag-chat", "--input", "most=5", "--incident", str(incident.number)
    )
    assert (code, err) == (0, "")
    assert "check     look: fail. The value is 1.0." in out
    assert "remediate act: skipped. Would do: Switch off → on. First 1 of role:oncall (nobody)" in out
    run = Run.objects.get()
    assert (run.is_plan, run.state, run.inputs["most"], run.incident) == (True, "finished", 5, incident)
    assert world.calls == []


def test_plan_of_a_file_keeps_its_text_unpublished(world: World, team: Team, tmp_path: Path) -> None:
    make_service(team, "rag-chat")
    path = tmp_path / "dry_two.yaml"
    path.write_text(HEAD.format(slug="dry_two") + "phases:\n" + STEPS)
    code, out, _ = command("plan", str(path), "--team", team.slug, "--json")
    told = json.loads(out)
    assert (code, told["findings"], told["run"]["state"], told["run"]["plan"]) == (0, [], "finished", True)
    assert [step["verdict"] for step in told["run"]["steps"]] == ["fail", "skipped"]
    kept = Revision.objects.get(runbook__slug="dry_two")
    assert (kept.published_at, kept.note) == (None, "kept for a dry run")


def test_plan_enters_what_it_runs_and_waits_for_no_worker(world: World, team: Team) -> None:
    make_runbook(team, STEPS, slug="inner")
    make_runbook(team, "  check:\n    - {id: call, runbook: inner}\n", slug="outer")
    code, out, err = command("plan", "outer", "--team", team.slug)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith(
        "check     call: skipped. Would run inner (revision 1): its checks ran (1 × Problem found)"
    )
    assert lines[1] == "  check     look: fail. The value is 1.0."
    assert lines[2].startswith("  remediate act: skipped. Would do: Switch off → on.")
    told = json.loads(command("plan", "outer", "--team", team.slug, "--json")[1])
    (child,) = told["children"]
    assert child["parent"] == {"run": told["run"]["id"], "step": "call", "item": 0}
    assert told["run"]["steps"][0]["runs"] == [child["id"]]
    assert [step["verdict"] for step in child["steps"]] == ["fail", "skipped"]
    assert world.calls == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["gone", "--team", "search"], "There is no file and no runbook 'gone'."),
        (["gone"], "Name a known --service"),
        (["gone", "--incident", "7"], "There is no incident 7."),
    ],
)
def test_plan_says_why_it_does_not_start(team: Team, words: list[str], said: str) -> None:
    Team.objects.create(slug="other", name="Other", created_at=team.created_at)
    code, _, err = command("plan", *words)
    assert code == 1
    assert said in err


def test_diff_compares_files_and_revisions_by_step(world: World, team: Team, tmp_path: Path) -> None:
    runbook = make_runbook(team, STEPS, slug="dry_one")
    path = tmp_path / "new.yaml"
    path.write_text(runbook.current.text.replace("> 0.5", "> 0.7"))  # type: ignore[union-attr]
    code, out, _ = command("diff", "dry_one@1", str(path))
    assert (code, out.splitlines()) == (
        1,
        ["check look: changed", "  fail_if: value > 0.5 → value > 0.7", "1 step differs, 1 the same."],
    )
    told = json.loads(command("diff", "dry_one", str(path), "--json")[1])
    assert told["steps"][0]["fields"] == [{"name": "fail_if", "before": "value > 0.5", "after": "value > 0.7"}]
    assert command("diff", "dry_one", "dry_one@1")[0] == 0
    assert command("diff", "dry_one", "dry_one@2")[0] == 2

"""The tests of a runbook in the browser and by the API: kept, played apart, shown with their coverage."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command
from django.test import Client

from catalog.models import Team
from common import clock
from common.errors import Conflict
from runbooks import exercised, library, revisions
from runbooks.models import Run, Runbook, RunbookTests
from runbooks.testing import apart, kept
from tests.factories import make_actor, make_user
from tests.factories_runbooks import make_runbook, start

pytestmark = pytest.mark.django_db
STEPS = """\
  check:
    - {id: look, check: metric.query, with: {signal: cost, window: 5m}, fail_if: value > 5}
"""
GOOD = "runbook: mine\ncases:\n  - name: dear\n    stubs: {look: {value: 6}}\n    expect: {verdicts: {look: fail}}\n"
BAD = GOOD.replace("look: fail", "look: pass")


@pytest.fixture
def runbook(team: Team) -> Runbook:
    """A runbook of the team, without tests."""
    return make_runbook(team, STEPS, slug="mine")


@pytest.fixture
def author(team: Team, client: Client) -> Client:
    """Somebody who writes runbooks."""
    client.force_login(make_user("anna", team=team))
    return client


def page(client: Client, path: str = "/runbooks/mine/tests") -> str:
    return client.get(path).content.decode()


def test_it_is_written_in_the_editor_and_kept(runbook: Runbook, author: Client) -> None:
    first = page(author)
    assert "runbook: mine" in first
    assert 'data-lint="/runbooks/mine/tests/lint"' in first
    wrong = author.post("/runbooks/mine/tests", {"text": GOOD.replace("look:", "lok:", 1)})
    assert wrong.status_code == 422
    assert "There is no step `lok` in `mine`." in wrong.content.decode()
    assert author.post("/runbooks/mine/tests", {"text": GOOD}).status_code == 302
    assert RunbookTests.objects.get(runbook=runbook).text == GOOD
    assert "They were not played here yet." in page(author)


def test_the_editor_asks_for_findings(runbook: Runbook, author: Client) -> None:
    told = author.post("/runbooks/mine/tests/lint", {"text": GOOD + "  - name: dear\n    expect: {}\n"}).json()
    assert [(one["line"], one["code"]) for one in told["findings"]] == [(6, "RT007")]
    assert told["findings"][0]["guide"].endswith("/testing-runbooks#codes")


@pytest.mark.slow
def test_they_are_played_apart_and_shown_with_their_coverage(runbook: Runbook, author: Client, team: Team) -> None:
    kept.keep(runbook, text=GOOD, actor=make_actor(team))
    runs_before = Run.objects.count()
    told = author.post("/api/v1/runbooks/mine/tests/play").json()
    assert (told["report"]["passed"], told["report_revision"]) == (True, 1)
    assert told["report"]["file"] == "mine.test.yaml"
    assert Run.objects.count() == runs_before
    shown = page(author)
    assert "What they said of revision 1" in shown
    assert "Branches: 2 of 3 taken" in shown
    assert "No case: `look`: `fail_if` is false" in shown
    assert "1 case passed" in page(author, "/runbooks/mine")
    kept.keep(runbook, text=BAD, actor=make_actor(team))
    assert author.post("/runbooks/mine/tests/play").status_code == 302
    assert "dear: The verdict of `look` is `fail`, not `pass`." in page(author)


@pytest.mark.slow
def test_what_it_runs_is_played_with_the_text_in_use(team: Team, author: Client) -> None:
    make_runbook(team, STEPS, slug="inner")
    outer = make_runbook(team, "  check:\n    - {id: call, runbook: inner}\n", slug="outer")
    text = GOOD.replace("mine", "outer").replace("look:", "call.look:")
    assert [found.code for found in kept.check(outer, text.replace("call.look", "call.lok"))] == ["RT004", "RT004"]
    kept.keep(outer, text=text, actor=make_actor(team))
    told = author.post("/api/v1/runbooks/outer/tests/play").json()
    assert (told["report"]["passed"], told["report"]["findings"]) == (True, [])


@pytest.mark.slow
def test_playing_ends_with_its_limits_and_reaches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "SECONDS", 1)
    text = (library.FOLDER / "latency_spike.yaml").read_text()
    tests = (library.FOLDER / "tests" / "latency_spike.test.yaml").read_text()
    with pytest.raises(Conflict, match="took more than 1 s"):
        apart.run("latency_spike", runbook=text, tests=tests)


def test_one_at_a_time() -> None:
    with apart._playing, pytest.raises(Conflict, match="Tests of another runbook"):
        apart.run("mine", runbook="", tests=GOOD)


def test_those_of_a_shipped_runbook_come_with_the_release(author: Client, team: Team) -> None:
    library.load_shipped()
    shown = page(author, "/runbooks/data_issue/tests")
    assert "a broken pipeline is repaired by people" in shown
    assert "data-editor" not in shown
    assert 'action="/runbooks/data_issue/tests/play"' in shown
    assert author.post("/runbooks/data_issue/tests", {"text": GOOD}).status_code in (409, 422)
    shipped = Runbook.objects.get(slug="data_issue")
    text = revisions.as_copy(shipped, shipped.current.text, team)  # type: ignore[union-attr]
    revisions.save(shipped, text=text, actor=make_actor(team), team=team, note="", source="editor")
    copy = Runbook.objects.get(copy_of=shipped)
    assert kept.beginning(copy).splitlines()[1] == f"runbook: {copy.slug}"
    assert kept.check(copy, kept.beginning(copy)) == []


def test_only_authors_keep_and_play(runbook: Runbook, client: Client, team: Team) -> None:
    client.force_login(make_user("vera", team=team, roles=["viewer"]))
    assert client.get("/runbooks/mine/tests").status_code == 200
    assert client.post("/runbooks/mine/tests", {"text": GOOD}).status_code == 403
    assert client.post("/runbooks/mine/tests/play").status_code == 403
    assert client.put("/api/v1/runbooks/mine/tests", {"text": GOOD}, content_type="application/json").status_code == 403


def test_the_api_keeps_and_shows_them(runbook: Runbook, author: Client) -> None:
    put = author.put("/api/v1/runbooks/mine/tests", {"text": GOOD}, content_type="application/json")
    assert (put.status_code, put.json()["author"]) == (200, "anna")
    told = author.get("/api/v1/runbooks/mine/tests").json()
    assert (told["text"], told["report"], told["exercised_at"]) == (GOOD, None, None)
    bad = author.put("/api/v1/runbooks/mine/tests", {"text": "runbook: x"}, content_type="application/json")
    assert bad.status_code == 422


def test_what_is_not_exercised_for_90_days_is_said(
    runbook: Runbook, author: Client, team: Team, tmp_path: Path
) -> None:
    now = clock.now()
    assert not exercised.is_overdue(runbook, now=now + timedelta(days=89))
    assert exercised.is_overdue(runbook, now=now + timedelta(days=91))
    Runbook.objects.filter(pk=runbook.pk).update(created_at=now - timedelta(days=91))
    assert "That is over 90 days" in page(author, "/runbooks/mine")
    path = tmp_path / "mine.yaml"
    path.write_text(runbook.current.text)  # type: ignore[union-attr]
    out = StringIO()
    with pytest.raises(SystemExit):
        call_command("runbook", "lint", str(path), stdout=out)
    assert f"{path}:1:1: RT040 `mine` was not exercised yet: no run and no passing tests for 90 days." in out.getvalue()
    start(runbook, make_actor(team), team)
    assert "That is over 90 days" not in page(author, "/runbooks/mine")
    assert exercised.last(runbook) is not None

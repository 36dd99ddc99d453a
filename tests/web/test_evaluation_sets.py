"""The doors for evaluation sets and result files: the command, the page, and the guide's example."""

from __future__ import annotations

import json
import re
from io import StringIO
from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.test import Client

from catalog.actors import ENGINE
from catalog.models import Team
from evaluations import sets
from evaluations.models import EvaluationSet
from runbooks.checks.base import Finding
from runbooks.checks.eval_compare import EvalCompare, EvalCompareParams
from tests.factories import make_team, make_user
from tests.factories_checks import make_context

CASE = '{"item": "a", "input": "x", "expected": "y"}\n'
GUIDE = Path(__file__).parents[2] / "docs/guide/services.md"


def said(*words: str | Path) -> str:
    """What `manage.py evaluation` prints."""
    out = StringIO()
    call_command("evaluation", *map(str, words), stdout=out)
    return out.getvalue().strip()


def test_the_command_loads_a_set_and_adds_to_it(team: Team, tmp_path: Path) -> None:
    file = tmp_path / "golden.jsonl"
    file.write_text("\ufeff" + CASE)
    words = ["load", str(file), "--team", team.slug, "--slug", "golden"]
    assert said(*words, "--title", "Golden") == "golden: 1 added."
    file.write_text(CASE + CASE.replace('"a"', '"b"'))
    told = json.loads(said(*words, "--json"))
    assert told == {"slug": "golden", "added": 1, "duplicates": ["a"], "cases": 2}
    assert EvaluationSet.objects.get(team=team).title == "Golden"


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (CASE + "{", "Line 2: this is not JSON"),
        (CASE + CASE, "Line 2: the item 'a' is there twice"),
        (CASE.replace('"x"', "NaN"), "Line 1: NaN"),
        (CASE.replace('"x"', r'"\u0000"'), "Line 1: NaN, infinity, U"),
        ("[" * 100_000, "Line 1: this is not JSON"),
    ],
)
def test_the_command_names_file_and_line(team: Team, tmp_path: Path, text: str, wrong: str) -> None:
    file = tmp_path / "golden.jsonl"
    file.write_text(text)
    with pytest.raises(CommandError, match=rf"golden\.jsonl: {wrong}"):
        said("load", file, "--team", team.slug, "--slug", "golden")
    assert not EvaluationSet.objects.exists()


def test_the_command_says_what_it_cannot_read(team: Team, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="No such file"):
        said("load", tmp_path / "none.jsonl", "--team", team.slug, "--slug", "golden")
    with pytest.raises(CommandError, match=f"no team 'other'. Known: {team.slug}"):
        said("load", GUIDE, "--team", "other", "--slug", "golden")
    (tmp_path / "latin.jsonl").write_bytes(b"\xe4")
    for verb in (["load", "--team", team.slug, "--slug", "golden"], ["result"]):
        with pytest.raises(CommandError, match="not UTF-8"):
            said(verb[0], tmp_path / "latin.jsonl", *verb[1:])


def test_kept_results_are_what_the_check_compares(team: Team, tmp_path: Path) -> None:
    sums = []
    for name, wrong in (("old", 0), ("new", 30)):
        rows = [{"item": str(n), "score": float(n >= wrong)} for n in range(200)]
        (tmp_path / name).write_text("\n".join(map(json.dumps, rows)))
        sums.append(said("result", tmp_path / name))
    found = EvalCompare().run(EvalCompareParams(old_file=sums[0], new_file=sums[1]), make_context(None))
    assert isinstance(found, Finding)
    assert (found.verdict, found.samples) == ("fail", 200)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ('{"item": "a", "score": 1}\n{"item": "a", "score": 0}', "Line 2: the item 'a' is there twice"),
        ('{"item": "a", "score": "good"}', "Line 1: score is a number"),
        ('{"item": "a", "score": 1, "attributes": [1]}', "Line 1: attributes"),
        ('{"item": "a"}', "Line 1 is not"),
        ("", "no results"),
    ],
)
def test_results_that_cannot_be_compared_are_not_kept(db: None, tmp_path: Path, text: str, wrong: str) -> None:
    (tmp_path / "old.jsonl").write_text(text)
    with pytest.raises(CommandError, match=wrong):
        said("result", tmp_path / "old.jsonl")


def test_a_line_may_hold_what_other_languages_take_for_line_ends(team: Team) -> None:
    case = CASE.replace('"x"', '"one\u2028two"')
    loaded = sets.load(team, slug="golden", text=case, actor=ENGINE)
    assert loaded.evaluation_set.cases.get().input == "one\u2028two"


def test_the_page_loads_a_file_and_shows_its_faults(client: Client, team: Team) -> None:
    client.force_login(make_user("anna", team=team))
    form = {"team": team.slug, "slug": "golden", "title": "Golden questions"}
    wrong = client.post("/evaluation-sets/load", {**form, "file": SimpleUploadedFile("g.jsonl", b"{")})
    assert (wrong.status_code, "Line 1: this is not JSON." in wrong.content.decode()) == (422, True)
    assert client.post("/evaluation-sets/load", form).status_code == 422
    answer = client.post("/evaluation-sets/load", {**form, "file": SimpleUploadedFile("g.jsonl", CASE.encode())})
    page = client.get(answer["Location"]).content.decode()
    for words in ("golden: 1 added.", "Golden questions", "1 case", "no version scored yet"):
        assert words in page


def test_only_who_may_configure_loads(client: Client, team: Team) -> None:
    client.force_login(make_user("ravi", team=team, roles=["responder"]))
    assert "multipart" not in client.get("/evaluation-sets").content.decode()
    assert client.post("/evaluation-sets/load", {}).status_code == 403
    client.force_login(make_user("eve", team=make_team("elsewhere")))
    form = {"team": team.slug, "slug": "golden", "file": SimpleUploadedFile("g.jsonl", CASE.encode())}
    assert client.post("/evaluation-sets/load", form).status_code == 422
    assert not EvaluationSet.objects.exists()


def test_the_example_of_the_guide_loads(team: Team, tmp_path: Path) -> None:
    example = re.search(r"```json\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert example
    (tmp_path / "golden.jsonl").write_text(example[1])
    assert said("load", tmp_path / "golden.jsonl", "--team", team.slug, "--slug", "golden").startswith("golden: 2")

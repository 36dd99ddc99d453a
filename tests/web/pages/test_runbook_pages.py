"""Runbooks in the browser: bad input is answered by line (attacks Y1 to Y8, T1 to T6), copies, unmet needs."""

from __future__ import annotations

import pytest
from django.test import Client

from catalog.actors import ENGINE
from catalog.models import Team, User
from runbooks import library, revisions
from runbooks.models import Revision, Run, Runbook
from tests.factories import make_actor, make_incident, make_service, make_user
from tests.factories_language import ends_within
from tests.factories_runbooks import make_runbook, pump, start
from web.pages.runbooks.edit import START

pytestmark = pytest.mark.django_db
BOOK = """spec: 1
id: mine
title: Mine
incident_type: other
owner: role:oncall
phases:
  check:
    - id: look
      check: result.test
      with: {value: 1}
      fail_if: value > 5
"""


@pytest.fixture
def author(team: Team, client: Client) -> User:
    user = make_user("anna", team=team)
    client.force_login(user)
    return user


def keep(client: Client, team: Team, text: str) -> tuple[int, str]:
    answer = client.post("/runbooks/new", {"text": text, "team": team.slug, "note": ""})
    return answer.status_code, answer.content.decode()


# Attack, text or what replaces a part of it, the code and the line it is told with.
YAML: list[tuple[str, str, str, int]] = [
    ("Y1 python tag", BOOK + 'x: !!python/object/apply:os.system ["id"]\n', "RB073", 12),
    ("Y1 own tag", BOOK.replace("title: Mine", "title: !mine Mine"), "RB073", 3),
    ("Y1 binary", BOOK.replace("title: Mine", "title: !!binary aGk="), "RB073", 3),
    ("Y1 set", BOOK + "x: !!set {a, b}\n", "RB073", 12),
    ("Y2 aliases", BOOK + "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "RB072", 12),
    ("Y3 merge bomb", BOOK + "a: {<<: [" + "{x: 1}, " * 20 + "]}\n", "RB074", 12),
    ("Y4 flow depth", BOOK + "x: " + "[\n" * 10_000, "RB080", 43),
    ("Y4 flow depth on one line", BOOK + "x: " + "[" * 100_000 + "\n", "RB079", 12),
    ("Y4 block depth", BOOK + "\n".join(" " * depth + "a:" for depth in range(300)), "RB080", 44),
    ("Y4 question marks", BOOK + "x: " + "? " * 4_000, "RB070", 12),
    ("Y5 duplicate key", BOOK + "title: Again\n", "RB071", 12),
    ("Y6 octal", BOOK.replace("spec: 1", "spec: 017"), "RB001", 1),
    ("Y6 nan", BOOK.replace("{value: 1}", "{value: 1}\n      min_samples: .nan"), "RB044", 11),
    ("Y6 date", BOOK + "deadline: 2024-01-01\n", "RB017", 12),
    ("Y6 sexagesimal", BOOK + "deadline: 12:30:45\n", "RB017", 12),
    ("Y6 huge integer", BOOK.replace("spec: 1", "spec: " + "9" * 5_000), "RB001", 1),
    ("Y6 no", BOOK.replace("      check: result.test", "      check: no"), "RB040", 9),
    ("Y7 two documents", BOOK + "---\nx: 1\n", "RB075", 12),
    ("Y7 byte order mark", "\ufeff" + BOOK, "RB081", 1),
    ("Y7 NUL", BOOK.replace("Mine", "Mi\0ne"), "RB081", 3),
    ("Y7 tab", BOOK + "x:\n\ty: 1\n", "RB081", 13),
    ("Y7 key that is no text", BOOK + "7: x\n", "RB082", 12),
    ("Y7 long scalar", BOOK + "description: " + "x" * 1_000_000, "RB079", 1),
    ("Y8 unknown step", BOOK.replace("result.test", "shell.run"), "RB040", 9),
    ("Y8 unknown field", BOOK.replace("fail_if", "next: look\n      fail_if"), "RB076", 11),
    ("Y8 10,000 steps", BOOK + "    - {id: s, wait: 1s}\n" * 10_000, "RB079", 3340),
    ("Y8 201 steps", BOOK + "".join(f"    - {{id: s{n}, wait: 1s}}\n" for n in range(201)), "RB079", 6),
    ("Y8 endless timeout", BOOK.replace("fail_if", "timeout: 1e9\n      fail_if"), "RB037", 11),
    ("Y8 nobody asked", BOOK.replace("owner: role:oncall\n", ""), "RB077", 1),
    ("Y8 refers to itself", BOOK.replace("value > 5", "steps.look.value > 5"), "RB055", 11),
]


@pytest.mark.parametrize(("text", "code", "line"), [case[1:] for case in YAML], ids=[case[0] for case in YAML])
def test_it_answers_bad_yaml_by_code_and_line(
    client: Client, author: User, team: Team, text: str, code: str, line: int
) -> None:
    with ends_within(2):
        status, page = keep(client, team, text)
    assert status == 422
    assert code in page
    assert f'data-goto="{line}:' in page
    assert not Revision.objects.exists()


def test_it_begins_a_new_runbook_with_a_text_without_a_fault(client: Client, author: User, team: Team) -> None:
    assert "Nothing to object to." in client.get("/runbooks/new").content.decode()
    status, _ = keep(client, team, START)
    assert (status, Revision.objects.get().text) == (302, START)


@pytest.mark.parametrize("further", [{}, {"check": "1"}], ids=["keep", "check only"])
def test_the_editor_shows_the_faults_that_keeping_tells(
    client: Client, author: User, team: Team, further: dict[str, str]
) -> None:
    unknown = BOOK.replace("role:oncall", "role:nobody")
    runbook = make_runbook(team, "  check:\n    - {id: look, manual: Look}\n", slug="mine")
    for place in ("/runbooks/new", f"/runbooks/{runbook.slug}/edit"):
        page = client.post(place, {"text": unknown, "team": team.slug, "note": ""} | further).content.decode()
        assert "RB005" in page
        assert 'data-goto="5:' in page


EXPRESSIONS = {
    "T1 class": "().__class__.__mro__",
    "T1 attr": "''|attr('format')",
    "T1 format_map": "value.format_map(value)",
    "T2 repeated text": "'a'*10**9",
    "T2 power": "9**(9**9)",
    "T2 center": "'a'|center(2000000000)",
    "T2 ljust": "'a'.ljust(2000000000)",
    "T2 format": "'%2000000000d'|format(1)",
    "T3 range": "range(99999)",
    "T3 lipsum": "lipsum(n=100000)",
    "T4 method": "incident.delete()",
    "T4 settings": "settings.SECRET_KEY",
    "T4 request": "request",
    "T4 items": "alert.labels.items()",
    "T5 statement": "{% if n>100 %}",
    "T5 raw": "{%raw%}",
}


@pytest.mark.parametrize("source", EXPRESSIONS.values(), ids=EXPRESSIONS)
def test_it_answers_a_hostile_expression_by_code_and_line(
    client: Client, author: User, team: Team, source: str
) -> None:
    quoted = source.replace("'", "''")
    with ends_within(1):
        for text, line in (
            (BOOK.replace("value > 5", f"'{quoted}'"), 11),
            (BOOK.replace("{value: 1}", f"{{value: '{{{{ {quoted} }}}}'}}"), 10),
        ):
            status, page = keep(client, team, text)
            assert (status, "RB057" in page, f'data-goto="{line}:' in page) == (422, True, True)
    assert not Revision.objects.exists()


def test_it_shows_template_text_of_an_alert_as_it_is(client: Client, author: User, team: Team) -> None:
    hostile = "{{ 7*7 }} {% raw %} <b>x</b>"
    steps = """
  check:
    - {id: look, manual: "Title: {{ inputs.title }}", name: Look}
"""
    runbook = make_runbook(team, steps, head="inputs:\n  title: {type: string}\n")
    incident = make_incident(team, make_service(team, "rag-chat"))
    run = start(runbook, make_actor(team), team, incident, title=hostile)
    pump()
    page = client.get(f"/runs/{run.uuid}").content.decode()
    assert "{{ 7*7 }}" in page
    assert "49" not in page.partition("Title:")[2][:60]
    assert "<b>x</b>" not in page


def test_it_says_before_the_start_what_is_missing(client: Client, author: User, team: Team) -> None:
    steps = """
  verify:
    - {id: calm, runbook: another}
"""
    runbook = make_runbook(team, steps)
    page = client.get(f"/runbooks/{runbook.slug}").content.decode()
    assert "It runs another, which has no revision in use here" in page
    assert f"/runbooks/{runbook.slug}/start" not in page
    answer = client.post(f"/runbooks/{runbook.slug}/start", {"team": team.slug, "incident": ""})
    assert answer.status_code == 422
    assert "which has no revision in use here" in answer.content.decode()
    told = client.get(f"/api/v1/runbooks/{runbook.slug}").json()
    assert told["needs"] == [f"It runs another, which has no revision in use here ({runbook.slug} → another)."]
    assert not Run.objects.exists()


def test_it_offers_a_newer_file_where_the_text_was_edited(client: Client, author: User, team: Team) -> None:
    texts = [BOOK, BOOK.replace("value > 5", "value > 6"), BOOK.replace("value > 5", "value > 7")]
    kept: list[Revision] = []
    for text, source in zip(texts, ("file", "editor", "file"), strict=True):
        runbook = kept[0].runbook if kept else None
        kept.append(revisions.save(runbook, text=text, actor=ENGINE, team=team, note="", source=source))
    revisions.publish(kept[1], actor=ENGINE)
    page = client.get("/runbooks/mine").content.decode()
    for words in (
        "folder has a newer text: revision 3",
        "-      fail_if: value &gt; 6",
        "+      fail_if: value &gt; 7",
    ):
        assert words in page
    assert "kept but not published" not in page
    client.post("/runbooks/mine/revisions/3/publish")
    assert Runbook.objects.get(slug="mine").current == kept[2]
    assert "a newer text" not in client.get("/runbooks/mine").content.decode()


def test_only_an_org_admin_is_offered_to_take_a_shipped_text(client: Client, author: User, team: Team) -> None:
    shipped = library.load_shipped()[0]
    assert shipped.current is not None
    for text, source in (("# ours\n", "editor"), ("# release 2\n", "library")):
        text = shipped.current.text + text
        kept = revisions.save(shipped, text=text, actor=ENGINE, team=None, note="", source=source)
        if source == "editor":
            revisions.publish(kept, actor=ENGINE)
    page = client.get(f"/runbooks/{shipped.slug}").content.decode()
    assert ("library has a newer text" in page, "Take it" in page) == (True, False)
    assert client.post(f"/runbooks/{shipped.slug}/revisions/3/publish").status_code == 403
    User.objects.filter(pk=author.pk).update(is_org_admin=True)
    assert "Take it" in client.get(f"/runbooks/{shipped.slug}").content.decode()


def test_it_offers_a_copy_of_a_shipped_runbook(client: Client, author: User, team: Team) -> None:
    library.load_shipped()
    page = client.get("/runbooks/accuracy_drop/edit").content.decode()
    assert "id: accuracy_drop_search\n" in page
    shipped = Runbook.objects.get(slug="accuracy_drop").revisions.get().text
    answer = client.post("/runbooks/accuracy_drop/edit", {"text": shipped + "# ours\n", "note": ""})
    assert answer.status_code == 403
    copied = shipped.replace("id: accuracy_drop", "id: accuracy_drop_search", 1)
    answer = client.post("/runbooks/accuracy_drop/edit", {"text": copied, "note": ""})
    assert answer["Location"] == "/runbooks/accuracy_drop_search"
    assert "stands in for" in client.get("/runbooks/accuracy_drop_search").content.decode()

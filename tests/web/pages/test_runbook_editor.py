"""The editor's doors: findings while one types, who was first, what two revisions differ in."""

from __future__ import annotations

import pytest
from django.test import Client

from catalog.actors import person
from catalog.models import Team, User
from runbooks import library, revisions
from runbooks.models import Revision, Runbook
from tests.factories import make_team, make_user

pytestmark = pytest.mark.django_db
BOOK = """spec: 1
id: mine
title: Mine
incident_type: other
owner: role:oncall
triggers:
  - alert: alert.status == 'firing' and alert.labels.kind == 'slow'
phases:
  check:
    - {id: look, name: Is it slow?, check: metric.query, with: {signal: latency}, fail_if: value > 5}
    - {id: ask, name: Ask somebody, manual: Look, assign: "role:oncall"}
"""


@pytest.fixture
def author(team: Team, client: Client) -> User:
    user = make_user("anna", team=team)
    client.force_login(user)
    return user


@pytest.fixture
def book(author: User, team: Team) -> Runbook:
    saved = revisions.save(None, text=BOOK, actor=person(author), team=team, note="", source="editor")
    return revisions.publish(saved, actor=person(author)).runbook


def keep(client: Client, text: str, begun_from: int | str) -> tuple[int, str]:
    answer = client.post("/runbooks/mine/edit", {"text": text, "note": "", "begun_from": str(begun_from)})
    return answer.status_code, answer.content.decode()


def test_it_answers_findings_by_place_while_one_types(client: Client, book: Runbook) -> None:
    faulty = BOOK.replace("role:oncall\n", "role:nobody\n", 1).replace("\n", "\r\n")
    told = client.post("/runbooks/mine/lint", {"text": faulty}).json()
    assert (told["errors"], told["warnings"]) == (1, 0)
    finding = told["findings"][0]
    assert (finding["code"], finding["line"], finding["column"], finding["severity"]) == ("RB005", 5, 8, "error")
    assert Revision.objects.count() == 1


def test_the_findings_of_a_new_runbook_are_those_of_its_team(client: Client, author: User, team: Team) -> None:
    for slug, status in ((team.slug, 200), (make_team("elsewhere").slug, 404), ("\0", 404), ("", 200)):
        assert client.post("/runbooks/new/lint", {"text": BOOK, "team": slug}).status_code == status, slug


@pytest.mark.parametrize("text", ["", "\0", "{" * 5000, "a: " + "x" * 300_000, "\ud83d"], ids=range(5))
def test_whatever_is_typed_is_answered(client: Client, book: Runbook, text: str) -> None:
    sent = text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    answer = client.post("/runbooks/mine/lint", {"text": sent})
    assert answer.status_code == 200
    assert (answer.json()["errors"] > 0) is bool(text)


def test_asking_for_findings_takes_a_token_of_ours_and_a_post(author: User, book: Runbook) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(author)
    assert strict.post("/runbooks/mine/lint", {"text": BOOK}).status_code == 403
    assert strict.get("/runbooks/mine/lint").status_code == 405


def test_a_viewer_has_no_editor(client: Client, book: Runbook, team: Team) -> None:
    client.force_login(make_user("vic", team=team, roles=["viewer"]))
    assert client.post("/runbooks/mine/lint", {"text": BOOK}).status_code == 403
    assert "Edit</a>" not in client.get("/runbooks/mine").content.decode()


def test_who_kept_a_revision_meanwhile_is_not_overwritten_unseen(client: Client, book: Runbook, team: Team) -> None:
    ben = make_user("ben", team=team)
    theirs = BOOK.replace("value > 5", "value > 6")
    revisions.save(book, text=theirs, actor=person(ben), team=team, note="", source="editor")
    mine = BOOK.replace("title: Mine", "title: Ours")
    status, page = keep(client, mine, 1)
    assert (status, Revision.objects.count()) == (409, 2)
    for words in ("ben kept revision 2", "title: Ours", "value &gt; 6", "Keep mine over revision 2"):
        assert words in page, words
    assert 'name="begun_from" value="2"' in page
    assert keep(client, mine, 2)[0] == 302
    assert book.revisions.first().text == mine  # type: ignore[union-attr]


def test_a_new_runbook_takes_no_id_that_is_there(client: Client, book: Runbook, team: Team) -> None:
    answer = client.post("/runbooks/new", {"text": BOOK + "# more\n", "team": team.slug, "begun_from": "0"})
    assert answer.status_code in (409, 422)
    assert "kept revision 1 of mine" in answer.content.decode()
    assert Revision.objects.count() == 1


@pytest.mark.parametrize("begun_from", ["x", "-1", str(2**40)])
def test_a_damaged_form_is_told_so(client: Client, book: Runbook, begun_from: str) -> None:
    status, page = keep(client, BOOK + "# more\n", begun_from)
    assert (status, 'class="wrong"' in page, "# more" in page) == (422, True, True)


def test_only_the_pages_with_an_editor_let_its_styles_in(client: Client, book: Runbook) -> None:
    edit = client.get("/runbooks/mine/edit")
    assert f"'nonce-{edit.content.decode().partition('data-nonce=')[2][1:23]}" in edit["Content-Security-Policy"]
    assert "codemirror.js" in edit.content.decode()
    page = client.get("/runbooks/mine")
    assert "nonce-" not in page["Content-Security-Policy"]
    assert "codemirror.js" not in page.content.decode()


def test_it_compares_two_revisions_step_by_step(client: Client, book: Runbook) -> None:
    assert keep(client, BOOK.replace("value > 5", "value > 6"), 1)[0] == 302
    for address in ("/runbooks/mine/compare?from=1&to=2", "/runbooks/mine/compare", "/runbooks/mine/revisions/2"):
        page = client.get(address).content.decode()
        assert "<bdi>value &gt; 5</bdi></del>" in page, address
        assert "<bdi>value &gt; 6</bdi></ins>" in page, address
    assert "No step and no field differs" in client.get("/runbooks/mine/compare?from=2&to=2").content.decode()


@pytest.mark.parametrize("query", ["from=9&to=2", "from=x", "to=-1", "to=9999999999999999999999", "to=٢"])
def test_a_revision_that_is_not_there_is_not_found(client: Client, book: Runbook, query: str) -> None:
    assert client.get(f"/runbooks/mine/compare?{query}").status_code == 404


def test_the_pages_say_in_words_what_it_does(client: Client, book: Runbook) -> None:
    page = " ".join(client.get("/runbooks/mine").content.decode().split())
    for words in ("it fires and its label kind is slow", "Is it slow?", "Measure one number, signal latency",
                  "Problem found if <code>value &gt; 5</code>", "asks whoever is in oncall"):  # fmt: skip
        assert words in page, words
    listing = client.get("/runbooks").content.decode()
    assert "Started by an alert whose label kind is slow" in listing
    assert "never exercised" in listing


def test_every_shipped_runbook_can_be_read_in_words(client: Client, author: User) -> None:
    for shipped in library.load_shipped():
        page = client.get(f"/runbooks/{shipped.slug}").content.decode()
        assert page.count('class="phase-head"') == 5, shipped.slug
        assert "does not know" not in page


def test_a_finding_leads_to_its_paragraph_of_the_guide(client: Client, book: Runbook) -> None:
    faulty = BOOK.replace("role:oncall\n", "role:nobody\n", 1)
    address, _, anchor = (
        client.post("/runbooks/mine/lint", {"text": faulty}).json()["findings"][0]["guide"].partition("#")
    )
    page = client.post("/runbooks/mine/edit", {"text": faulty, "note": "", "check": "1"}).content.decode()
    assert f'href="{address}#{anchor}"' in page
    assert f'id="{anchor}"' in client.get(address).content.decode()

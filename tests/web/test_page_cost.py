"""What a page costs: the same number of queries however full it is, and few bytes on the first visit."""

from __future__ import annotations

import gzip
import re
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
from django.conf import settings as django_settings
from django.contrib.staticfiles import finders
from django.db import connection
from django.test import Client
from django.test.signals import template_rendered
from django.test.utils import CaptureQueriesContext

from catalog.actors import person
from incidents import timeline
from incidents.evidence import store
from incidents.models import Alert, Incident
from runbooks import runs
from tests import crawl
from tests.factories_pages import Pages, make_pages
from tests.factories_web import signed_in

pytestmark = pytest.mark.django_db
# HTML, styles, scripts and fonts of the first visit, as production sends them; the editor is not among them.
FIRST_VISIT_BYTES = 200_000
KINDS = ("alert", "check", "note", "state", "effect", "approval", "change", "message")


@pytest.fixture
def pages(tmp_path: Path, settings: Any) -> Pages:
    """Full pages."""
    settings.BACKSTOP = settings.BACKSTOP.model_copy(update={"data_dir": tmp_path})
    return make_pages(tmp_path)


def fill(pages: Pages, *, events: int, things: int) -> None:
    """So many more entries on the timeline, and so many more of all that an incident has."""
    incident, actor = pages.live, person(pages.world.member)
    for number in range(events):
        cited = [store(incident=incident, kind="check", summary=f"seen {number}", verdict="fail")]
        kind = KINDS[number % len(KINDS)]
        timeline.record(incident, kind=kind, actor=actor, text=f"event {number}", evidence=cited)
    for number in range(things):
        _alert(pages, number)
        runs.start(pages.world.runbook, given={}, actor=actor, team=incident.team, incident=incident)
    incident.refresh_from_db()


def _alert(pages: Pages, number: int) -> None:
    first, there = pages.world.alert, Alert.objects.count()
    Alert.objects.create(
        endpoint=first.endpoint, dedup_key=f"more {there}", status="firing", title=f"more {number}",
        starts_at=first.starts_at + timedelta(seconds=number), first_seen_at=first.first_seen_at,
        last_seen_at=first.last_seen_at, incident=pages.live, service=pages.live.service,
    )  # fmt: skip


def queries_of(client: Client, path: str) -> list[str]:
    """What a page asks the database."""
    with CaptureQueriesContext(connection) as asked:
        assert client.get(path).status_code == 200, path
    return [query["sql"] for query in asked]


def addresses(client: Client, incident: Incident, run: object) -> list[str]:
    """The pages that grow with what happens: incident and run, their tabs, and the parts that they fetch anew."""
    own = (f"/incidents/{incident.number}", f"/runs/{run}")
    pages = [crawl.read(path, 200, client.get(path).content.decode()) for path in own]
    tabs = {urljoin(page.path, link).partition("#")[0] for page in pages for link in page.links}
    found = {tab for tab in tabs if tab.startswith(f"{own[0]}/") and "evidence" not in tab and not tab.endswith(".csv")}
    return sorted({*own, *found, *(part for page in pages for part in page.parts)})


def test_a_full_incident_asks_no_more_than_an_empty_one(pages: Pages) -> None:
    client = signed_in(pages.world.member)
    # One of each is there, so that every part of the page is asked for both times.
    fill(pages, events=10, things=1)
    paths = addresses(client, pages.live, pages.run.uuid)
    before = {path: queries_of(client, path) for path in ["/", "/incidents", "/runs", *paths]}
    fill(pages, events=190, things=9)
    after = {path: queries_of(client, path) for path in before}
    more = {path: (len(before[path]), len(after[path])) for path in before if len(after[path]) != len(before[path])}
    assert more == {}, "\n".join(sql[:160] for path in more for sql in set(after[path]) - set(before[path]))
    assert max(len(asked) for asked in after.values()) <= 60, {path: len(asked) for path, asked in after.items()}


def test_no_part_of_a_page_is_rendered_by_djangos_slower_templates(pages: Pages) -> None:
    client, seen = signed_in(pages.world.member), list[str]()

    def note(template: Any, **_: Any) -> None:
        seen.append(template.name)

    with_forms = ["/", f"/incidents/{pages.live.number}", "/services/new", "/people", "/account"]
    # Tests have Django's engine tell of each of its templates; Jinja2 tells nobody.
    template_rendered.connect(note)
    answers = [client.get(path).content.decode() for path in with_forms]
    template_rendered.disconnect(note)
    assert all("<input" in page for page in answers)
    assert seen == []


def test_a_page_comes_compressed_and_a_stream_does_not(pages: Pages) -> None:
    client = signed_in(pages.world.member)
    path = f"/incidents/{pages.live.number}"
    plain = client.get(path)
    squeezed = client.get(path, headers={"accept-encoding": "gzip, br"})
    assert squeezed["Content-Encoding"] == "gzip"
    assert "Accept-Encoding" in squeezed["Vary"]
    assert b"accuracy" in gzip.decompress(squeezed.content)
    assert len(squeezed.content) < len(plain.content) / 3
    assert "Content-Encoding" not in plain
    for other in (f"/live/incident/{pages.live.number}", "/api/v1/openapi.json"):
        answer = client.get(other, headers={"accept-encoding": "gzip"})
        assert answer.status_code == 200
        assert "Content-Encoding" not in answer, other


def test_two_answers_never_show_the_same_token(pages: Pages) -> None:
    """Else their lengths could tell it (docs/decisions/0020)."""
    client = signed_in(pages.world.member)

    def tokens() -> set[str]:
        page = crawl.read("/", 200, client.get(f"/incidents/{pages.live.number}").content.decode())
        return {one.value for form in page.forms for one in form.fields if one.name == "csrfmiddlewaretoken"}

    first, second = tokens(), tokens()
    assert len(first) == 1, "one mask does for all forms of an answer"
    assert second
    assert not first & second


def test_a_first_visit_is_small(pages: Pages) -> None:
    """On a phone at night: HTML, styles, scripts and fonts of each of the four pages."""
    client = signed_in(pages.world.member)
    fill(pages, events=40, things=1)
    sizes = {
        path: first_visit(client, path)
        for path in (
            "/", f"/incidents/{pages.live.number}", f"/runs/{pages.run.uuid}",
            f"/approvals/{pages.approval.uuid}", f"/postmortems/{pages.over.number}",
        )
    }  # fmt: skip
    assert {path: parts for path, parts in sizes.items() if sum(parts.values()) > FIRST_VISIT_BYTES} == {}


def first_visit(client: Client, path: str) -> dict[str, int]:
    """Bytes over the network by part: compressed as production serves each, fonts as they are."""
    answer = client.get(path, headers={"accept-encoding": "gzip"})
    page = crawl.read(path, answer.status_code, gzip.decompress(answer.content).decode())
    sizes = {"html": len(answer.content)}
    styles = [name for name in page.stylesheets if name.startswith("/static/")]
    for address in [*styles, *page.scripts]:
        data = Path(_file(address)).read_bytes()
        sizes[address] = min(len(data), len(gzip.compress(data, 9)))
    for sheet in styles:
        for font in _fonts(sheet):
            sizes[font] = Path(_file(font)).stat().st_size
    return sizes


def _file(address: str) -> str:
    found = finders.find(address.removeprefix(django_settings.STATIC_URL).partition("?")[0])
    assert isinstance(found, str), f"{address} is no file of ours"
    return found


def _fonts(sheet: str) -> list[str]:
    named = re.findall(r"url\([\"']?([^)\"']+\.woff2)", Path(_file(sheet)).read_text())
    return [urljoin(sheet, name) for name in named]

"""Whatever is sent with any form that a page offers: an answer in words, never a fault of ours, never a way out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from django.core.cache import cache
from django.test import Client

from tests import crawl
from tests.factories_nasty import LONG_WORD, MANY_MARKS, RTL, SCRIPTS, ZERO_WIDTH
from tests.factories_pages import Pages, make_pages, undone
from tests.factories_web import make_world, signed_in
from tests.web.test_crawler import ANSWERS, ENDS, opened_by, post

pytestmark = pytest.mark.django_db
TEXTS = {
    "scripts": " ".join(SCRIPTS),
    "right to left": RTL,
    "ten thousand marks": MANY_MARKS,
    "zero width": ZERO_WIDTH,
    "NUL": "a\x00b",
    "a word without end": LONG_WORD,
    "nothing but space": " \t\u00a0\u3000",
}
CHOSEN = ("hidden", "select", "radio", "checkbox")
EVIL = ("//evil.test", "/\\evil.test", "https://evil.test/", "https://testserver@evil.test", "\thttps://evil.test")


@pytest.fixture
def pages(tmp_path: Path, settings: Any) -> Pages:
    """Full pages."""
    cache.clear()
    settings.BACKSTOP = settings.BACKSTOP.model_copy(update={"data_dir": tmp_path})
    return make_pages(tmp_path)


def forms_of(client: Client) -> Iterator[crawl.Form]:
    """Every kind of form that changes something, once."""
    seen = set()
    for page in crawl.Walk(opened_by(client), each=1).pages():
        for form in page.forms:
            if form.method == "post" and form.kind not in seen and crawl.shape(form.action) not in ENDS:
                seen.add(form.kind)
                yield form


def with_text(form: crawl.Form, text: str) -> dict[str, Any]:
    """What a browser sends when this was typed into every field that takes text."""
    typed = {field.name for field in form.fields if field.is_text}
    return {name: text if name in typed else values for name, values in form.sent().items()}


def test_no_text_in_any_field_is_a_fault_of_ours(pages: Pages) -> None:
    client, faults = signed_in(pages.world.member), []
    for form in forms_of(client):
        if not any(field.is_text for field in form.fields):
            continue
        for name, text in TEXTS.items():
            status = post(client, form, with_text(form, text)).status_code
            if status not in (*ANSWERS, 403):
                faults.append(f"{form.action} from {form.page} answers {status} to {name}")
    assert not faults, "\n".join(faults)


def test_no_choice_and_no_id_of_somebody_else_is_taken(pages: Pages) -> None:
    """Every hidden value and every choice, replaced by one that the form never offered."""
    client, faults, other = signed_in(pages.world.member), [], make_world("elsewhere", mark="foreignmark")
    strange = [str(2**63), "-1", "1; DROP TABLE", other.team.slug, str(other.incident.number), str(other.run.uuid)]
    for form in forms_of(client):
        fixed = [one.name for one in form.fields if one.kind in CHOSEN and one.name != "csrfmiddlewaretoken"]
        for name in dict.fromkeys(fixed):
            for value in strange:
                answer = post(client, form, form.sent() | {name: value})
                if answer.status_code not in (*ANSWERS, 403, 404):
                    faults.append(f"{form.action}: {name}={value} answers {answer.status_code}")
                elif b"foreignmark" in answer.content:
                    faults.append(f"{form.action}: {name}={value} shows what is another team's")
    assert not faults, "\n".join(faults)


def test_a_wrong_token_and_none_are_refused(pages: Pages) -> None:
    client, faults = signed_in(pages.world.member), []
    forms = list(forms_of(client))
    client.handler.enforce_csrf_checks = True
    for form in forms:
        for token in ("", "x" * 64):
            status = post(client, form, form.sent() | {"csrfmiddlewaretoken": token}).status_code
            if status != 403:
                faults.append(f"{form.action} answers {status}")
    assert len(forms) > 30
    assert not faults, "\n".join(faults)


def test_no_form_leads_elsewhere(pages: Pages) -> None:
    client, faults = signed_in(pages.world.member), []
    for number, form in enumerate(forms_of(client)):
        evil = EVIL[number % len(EVIL)]
        to = f"{form.action}{'&' if '?' in form.action else '?'}{urlencode({'next': evil})}"
        aimed = crawl.Form(form.page, to, form.method)
        answer = post(client, aimed, form.sent() | {"next": evil})
        parts = urlsplit(answer.get("Location", "").strip().replace("\\", "/"))
        if parts.netloc not in ("", "testserver"):
            faults.append(f"{form.action} leads to {answer['Location']}")
    for evil in EVIL:
        answer = Client().get("/login", {"next": evil})
        if "evil.test" in answer.content.decode().replace("testserver@", "") and answer.status_code == 302:
            faults.append("signing in leads elsewhere")
    assert not faults, "\n".join(faults)


def test_ten_megabytes_are_refused_before_they_are_read(pages: Pages) -> None:
    client, faults = signed_in(pages.world.member), []
    huge = urlencode({"text": "x" * 10_000_000})
    for path in {crawl.shape(form.action): form.action for form in forms_of(client)}.values():
        answer = client.post(path, huge, content_type="application/x-www-form-urlencoded")
        if answer.status_code not in (400, 403, 404, 413):
            faults.append(f"{path} answers {answer.status_code}")
    assert not faults, "\n".join(faults)


def test_bytes_that_are_no_text_are_answered(pages: Pages) -> None:
    client, faults = signed_in(pages.world.member), []
    body = b"title=%ff%fe\xff\xfe&note=%ed%a0%80&text=%C0%80"
    for path in {crawl.shape(form.action): form.action for form in forms_of(client)}.values():
        for kind in ("application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain"):
            with undone():
                status = client.generic("POST", path, body, content_type=kind).status_code
            if status not in (*ANSWERS, 403, 404, 415):
                faults.append(f"{path} answers {status} to {kind}")
    assert not faults, "\n".join(faults)

"""Whatever is sent with any form that a page offers: an answer in words, never a fault of ours, never a way out."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from django.core.cache import cache
from django.test import Client

from catalog import people
from tests import crawl
from tests.factories import make_team, make_user
from tests.factories_nasty import LONG_WORD, MANY_MARKS, RTL, SCRIPTS, ZERO_WIDTH
from tests.factories_pages import make_pages, undone
from tests.factories_web import World, make_world, signed_in
from tests.web.test_crawler import ANSWERS, ENDS, opened_by, post

TEXTS = {
    "hostile text": " ".join([*SCRIPTS, RTL, ZERO_WIDTH, LONG_WORD]),
    "ten thousand marks": MANY_MARKS,
    "NUL": "a\x00b",
    "nothing but space": " \t\u00a0\u3000",
}
CHOSEN = ("hidden", "select", "radio", "checkbox")
BROKEN = b"title=%ff%fe\xff\xfe&note=%ed%a0%80&text=%C0%80"
EVIL = ("//evil.test", "/\\evil.test", "https://evil.test/", "https://testserver@evil.test", "\thttps://evil.test")


def forms_of(client: Client) -> list[crawl.Form]:
    """Every kind of form that changes something, once."""
    found: dict[tuple[str, ...], crawl.Form] = {}
    for page in crawl.Walk(opened_by(client), each=1).pages():
        for form in page.forms:
            if form.method == "post" and crawl.shape(form.action) not in ENDS:
                found.setdefault(form.kind, form)
    return list(found.values())


def with_text(form: crawl.Form, text: str) -> dict[str, Any]:
    """What a browser sends when this was typed into every field that takes text."""
    typed = {field.name for field in form.fields if field.is_text}
    return {name: text if name in typed else values for name, values in form.sent().items()}


def hostile_text(client: Client, forms: list[crawl.Form], other: World) -> Iterator[str]:
    """No text in any field is a fault of ours."""
    for form in forms:
        for name, text in TEXTS.items() if any(field.is_text for field in form.fields) else ():
            status = post(client, form, with_text(form, text)).status_code
            if status not in (*ANSWERS, 403):
                yield f"{form.action} from {form.page} answers {status} to {name}"


def foreign_choices(client: Client, forms: list[crawl.Form], other: World) -> Iterator[str]:
    """No hidden value and no choice is taken that the form never offered."""
    strange = [str(2**63), "1; DROP TABLE", other.team.slug, str(other.incident.number)]
    for form in forms:
        fixed = {one.name for one in form.fields if one.kind in CHOSEN} - {"csrfmiddlewaretoken"}
        for name, value in itertools.product(sorted(fixed), strange):
            answer = post(client, form, form.sent() | {name: value})
            if answer.status_code not in (*ANSWERS, 403, 404):
                yield f"{form.action}: {name}={value} answers {answer.status_code}"
            elif b"foreignmark" in answer.content:
                yield f"{form.action}: {name}={value} shows what is another team's"


def wrong_tokens(client: Client, forms: list[crawl.Form], other: World) -> Iterator[str]:
    """A wrong token and none are refused, whatever the form."""
    client.handler.enforce_csrf_checks = True
    for form, token in itertools.product(forms, ("", "x" * 64)):
        status = post(client, form, form.sent() | {"csrfmiddlewaretoken": token}).status_code
        if status != 403:
            yield f"{form.action} answers {status} to the token {token!r}"
    client.handler.enforce_csrf_checks = False


def ways_out(client: Client, forms: list[crawl.Form], other: World) -> Iterator[str]:
    """No form leads elsewhere, by its field or by its address."""
    for number, form in enumerate(forms):
        evil = EVIL[number % len(EVIL)]
        to = f"{form.action}{'&' if '?' in form.action else '?'}{urlencode({'next': evil})}"
        answer = post(client, crawl.Form(form.page, to, form.method), form.sent() | {"next": evil})
        if urlsplit(answer.get("Location", "").strip().replace("\\", "/")).netloc not in ("", "testserver"):
            yield f"{form.action} leads to {answer['Location']}"


def raw_bytes(client: Client, forms: list[crawl.Form], other: World) -> Iterator[str]:
    """Ten megabytes are refused before they are read; bytes that are no text are answered."""
    form_kind = "application/x-www-form-urlencoded"
    bodies = [(BROKEN, form_kind), (BROKEN, "multipart/form-data; boundary=x"), (BROKEN, "text/plain")]
    huge = urlencode({"text": "x" * 10_000_000}).encode()
    read = {form.action for form in forms if any(field.is_text for field in form.fields)}
    for path in {crawl.shape(form.action): form.action for form in forms}.values():
        for body, kind in [*bodies, (huge, form_kind)]:
            kept = SimpleCookie(client.cookies)
            with undone():
                status = client.generic("POST", path, body, content_type=kind).status_code
            client.cookies = kept
            # A form of buttons alone reads nothing, so that it may go well; nginx and config/limits.py stand before it.
            if status not in (*ANSWERS, 403, 415) or (body is huge and path in read and status in (200, 302)):
                yield f"{path} answers {status} to {len(body):,} bytes of {kind}"


def test_no_form_is_led_astray(tmp_path: Path, settings: Any, db: None) -> None:
    """One world for all: to make it and to find its forms takes longer than to send them."""
    cache.clear()
    settings.BACKSTOP = settings.BACKSTOP.model_copy(update={"data_dir": tmp_path})
    pages, other = make_pages(tmp_path), make_world("elsewhere", mark="foreignmark")
    client = signed_in(pages.world.member)
    forms = forms_of(client)
    assert len(forms) > 30, [form.action for form in forms]
    tries = (hostile_text, foreign_choices, wrong_tokens, ways_out, raw_bytes)
    faults = [f"{tried.__name__}: {fault}" for tried in tries for fault in tried(client, forms, other)]
    assert not faults, "\n".join(faults)


@pytest.mark.django_db
@pytest.mark.parametrize("evil", EVIL)
def test_signing_in_leads_nowhere_else(evil: str) -> None:
    user = make_user(team=make_team())
    link = f"/login/link/{people.new_login_link(user)}"
    answer = Client().post(f"{link}?{urlencode({'next': evil})}", {"next": evil})
    assert (answer.status_code, answer["Location"]) == (302, "/")

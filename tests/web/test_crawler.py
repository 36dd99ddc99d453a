"""Whoever one is: every link leads on, every form opens and answers, and every page has its frame and its way back."""

from __future__ import annotations

from collections.abc import Callable
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client

from catalog import people
from catalog.models import User
from catalog.permissions import ROLES
from tests import crawl
from tests.factories import make_team, make_user
from tests.factories_pages import Pages, make_pages, undone
from tests.factories_web import signed_in

pytestmark = pytest.mark.django_db
WHO: dict[str, Callable[[Pages], User]] = {
    **{role: lambda pages, role=role: make_user(team=pages.world.team, roles=[role]) for role in ROLES},  # type: ignore[misc]
    "member": lambda pages: pages.world.member,
    "org admin": lambda pages: people.create_user(username="boss", email="boss@example.com", is_org_admin=True),
    "newcomer": lambda pages: make_user(team=make_team()),
}
# What somebody who fills a form wrongly may be answered; 404 where it names what is not there.
ANSWERS = (200, 302, 400, 404, 409, 413, 422, 429)
# Leaving ends the walk.
ENDS = ("account_logout",)


@pytest.fixture
def pages(tmp_path: Path, settings: Any) -> Pages:
    """Full pages."""
    cache.clear()
    settings.BACKSTOP = settings.BACKSTOP.model_copy(update={"data_dir": tmp_path})
    return make_pages(tmp_path)


def opened_by(client: Client) -> Callable[[str], crawl.Answer]:
    """How a browser of that person opens an address; a redirect is followed."""

    def get(path: str) -> crawl.Answer:
        answer: Any = client.get(path, follow=True)
        led_to = answer.redirect_chain[-1][0] if answer.redirect_chain else path
        body = "" if answer.streaming else answer.content.decode(errors="replace")
        return crawl.Answer(led_to, answer.status_code, answer.headers.get("Content-Type", ""), body)

    return get


def post(client: Client, form: crawl.Form, told: dict[str, Any]) -> Any:
    """Send a form and take back whatever it did, so that the next one meets the same world."""
    kept = SimpleCookie(client.cookies)
    with undone():
        answer = client.post(form.action, told)
    # A form may end the session or begin another.
    client.cookies = kept
    assert not answer.get("Location", "").startswith("/login"), f"{form.action} found nobody signed in"
    return answer


def walked(client: Client, *, each: int, junk: bool) -> tuple[list[crawl.Page], list[str]]:
    """Every page that somebody reaches, and what is wrong: on the way, and with each page's links and forms."""
    walk = crawl.Walk(opened_by(client), each=each)
    found = list(walk.pages())
    faults = walk.faults + [fault for page in found for fault in crawl.faults_of(page)]
    forms = {form.kind: form for page in found for form in page.forms if crawl.shape(form.action) not in ENDS}
    for form in forms.values():
        if form.method != "post":
            continue
        for told in ({}, dict.fromkeys(form.sent(), "\u202ejunk" * 9))[: 1 + junk]:
            status = post(client, form, told).status_code
            if status not in ANSWERS:
                faults.append(
                    f"{form.page}: its form {form.action} answers {status} to {'junk' if told else 'nothing'}"
                )
    return found, faults


def test_every_link_leads_on_and_every_form_answers(pages: Pages) -> None:
    told: dict[str, list[str]] = {}
    for who, made in WHO.items():
        found, faults = walked(signed_in(made(pages)), each=1, junk=who == "member")
        assert len(found) >= (40 if who == "member" else 10), (who, sorted(page.path for page in found))
        for fault in faults:
            told.setdefault(fault, []).append(who)
    assert not told, "\n".join(f"{fault} (as {', '.join(who)})" for fault, who in told.items())


def test_a_visitor_finds_the_way_in() -> None:
    walk = crawl.Walk(opened_by(Client()), leave=("/static/",))
    found = list(walk.pages())
    assert walk.faults + [fault for page in found for fault in crawl.faults_of(page)] == []
    assert {crawl.shape(page.path) for page in found} >= {"account_login?next"}

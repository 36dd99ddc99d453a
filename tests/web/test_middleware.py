"""Request ids, and errors told in words to whoever asked."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from django.core.exceptions import RequestDataTooBig
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from django.urls import path

from catalog.permissions import Permission
from common.errors import Conflict, Throttled
from config.urls import handler400, handler403, handler404, handler429, handler500
from config.urls import urlpatterns as real
from tests.factories_web import problem
from web.policy import allow

__all__ = ["handler400", "handler403", "handler404", "handler429", "handler500"]


@allow(Permission.ANYONE)
def conflict(request: HttpRequest) -> HttpResponse:
    raise Conflict("Somebody was <b>faster</b>.", fix="Look again.", state="resolved")


@allow(Permission.ANYONE)
def throttled(request: HttpRequest) -> HttpResponse:
    raise Throttled("Slowly.", retry_after=17)


@allow(Permission.ANYONE)
def away(request: HttpRequest) -> HttpResponse:
    raise OperationalError("database is locked: secret-table")


@allow(Permission.ANYONE)
def broken(request: HttpRequest) -> HttpResponse:
    raise ZeroDivisionError("password=hunter2hunter2")


@allow(Permission.ANYONE)
def too_big(request: HttpRequest) -> HttpResponse:
    raise RequestDataTooBig("x")


urlpatterns = [
    path("x/conflict", conflict),
    path("x/throttled", throttled),
    path("x/away", away),
    path("x/broken", broken),
    path("x/big", too_big),
    *real,
]
JSON = {"Accept": "application/json"}


@pytest.fixture
def client(settings: Any, db: None) -> Client:
    """A client of the addresses above."""
    settings.ROOT_URLCONF = __name__
    return Client(raise_request_exception=False)


@pytest.mark.parametrize("offered", ["", "x", "a" * 65, "bad id!", "x\ny", "<script>alert(1)</script>"])
def test_it_makes_an_id_where_none_is_acceptable(client: Client, offered: str) -> None:
    given = client.get("/healthz", headers={"X-Request-ID": offered})["X-Request-ID"]
    assert len(given) == 32
    assert given != offered


def test_it_keeps_a_sane_id(client: Client) -> None:
    assert client.get("/healthz", headers={"X-Request-ID": "edge-1234.5678"})["X-Request-ID"] == "edge-1234.5678"


def test_a_program_is_told_in_json(client: Client) -> None:
    answer = client.get("/x/conflict", headers=JSON)
    told = problem(answer)  # type: ignore[arg-type]
    assert (told["status"], told["code"], told["fix"], told["state"]) == (409, "conflict", "Look again.", "resolved")
    assert told["title"] == "Conflict"


def test_a_person_is_told_on_a_page(client: Client) -> None:
    page = client.get("/x/conflict", headers={"Accept": "text/html"})
    text = page.content.decode()
    assert page.status_code == 409
    assert "Somebody was &lt;b&gt;faster&lt;/b&gt;." in text
    assert "Look again." in text
    assert page["X-Request-ID"] in text


@pytest.mark.parametrize("headers", [JSON, {"Accept": "text/html"}, {}])
def test_a_database_that_is_away_is_503(client: Client, headers: dict[str, str]) -> None:
    answer = client.get("/x/away", headers=headers)
    assert answer.status_code == 503
    assert answer["Retry-After"]
    assert b"secret-table" not in answer.content


@pytest.mark.parametrize("headers", [JSON, {"Accept": "text/html"}])
def test_a_bug_is_500_with_an_id_and_no_word_of_it(
    client: Client, caplog: pytest.LogCaptureFixture, headers: dict[str, str]
) -> None:
    with caplog.at_level(logging.ERROR, logger="django.request"):
        answer = client.get("/x/broken", headers=headers)
    assert answer.status_code == 500
    assert answer["X-Request-ID"].encode() in answer.content
    assert b"hunter2" not in answer.content
    assert b"ZeroDivision" not in answer.content
    assert any(record.exc_info for record in caplog.records)


def test_too_much_is_413_and_too_often_is_429(client: Client) -> None:
    assert client.get("/x/big", headers=JSON).status_code == 413
    answer = client.get("/x/throttled", headers=JSON)
    assert (answer.status_code, answer["Retry-After"]) == (429, "17")


@pytest.mark.parametrize("path_", ["/nosuch", "/incidents/nosuch/x", "/api/nosuch", "/api/v1/nosuch", "/api"])
def test_an_unknown_address_is_404(client: Client, path_: str) -> None:
    answer = client.get(path_)
    assert answer.status_code == 404
    if path_.startswith("/api/"):
        assert json.loads(answer.content)["code"] == "not_found"


@pytest.mark.parametrize("path_", ["/a%00b", "/?x=%00", "/login?next=%00"])
def test_nul_is_refused_at_the_door(client: Client, path_: str) -> None:
    assert client.get(path_).status_code == 400


@pytest.mark.parametrize("method", ["TRACE", "TRACK", "FOO"])
def test_odd_methods_are_refused_everywhere(client: Client, method: str) -> None:
    for where in ("/", "/login", "/healthz", "/hooks/a/b"):
        assert client.generic(method, where).status_code == 405


def test_a_foreign_host_is_refused_on_pages_too(client: Client) -> None:
    assert client.get("/login", headers={"Host": "evil.test"}).status_code == 400
    assert client.get("/login", headers={"X-Forwarded-Host": "evil.test"}).status_code == 200


def test_htmx_is_sent_to_sign_in(client: Client) -> None:
    hx = {"HX-Request": "true", "HX-Current-URL": "http://testserver/incidents/4"}
    answer = client.post("/incidents/4/note", headers=hx)
    assert answer.status_code == 401
    assert answer["HX-Redirect"] == "/login?next=%2Fincidents%2F4"


def test_a_page_that_fetches_its_parts_is_left_in_place(client: Client) -> None:
    answer = client.get("/now", headers={"HX-Request": "true"})
    assert answer.status_code == 401
    assert "HX-Redirect" not in answer, "what is half typed in it would be lost"


def test_a_visitor_is_sent_to_sign_in_and_back(client: Client) -> None:
    answer = client.get("/password?x=1", headers={"Accept": "text/html"})
    assert answer["Location"] == "/login?next=%2Fpassword%3Fx%3D1"
    assert RequestFactory().get("/").path == "/"

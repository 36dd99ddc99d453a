"""How an error is told: a page for people, RFC 9457 problem+json for programs; always with the request id.

Nothing here echoes a stack, a secret or the offending input. Pages are made from templates/error.html; while that
cannot be rendered (the database is away, the template itself fails) a plain page says the same.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import uuid
from http import HTTPStatus
from typing import Any

from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted
from django.core.exceptions import (
    RequestDataTooBig,
    SuspiciousOperation,
    TooManyFieldsSent,
    TooManyFilesSent,
)
from django.db import DatabaseError, DataError, InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django.shortcuts import render
from django.template import TemplateDoesNotExist
from django.utils.html import escape

from common.errors import DomainError

log = logging.getLogger(__name__)

JSON_ROOMS = ("/api/", "/hooks/", "/v2/", "/live/", "/version/", "/metrics", "/healthz", "/readyz")
_SANE_ID = re.compile(r"[A-Za-z0-9._-]{8,64}\Z")
# Short enough to be back soon after a restart of the database, long enough not to hammer it.
RETRY_AFTER_SECONDS = 5


def new_request_id(offered: str) -> str:
    """The id that the caller offers, if it is sane; else one of our own."""
    return offered if _SANE_ID.match(offered) else uuid.uuid4().hex


def request_id(request: HttpRequest) -> str:
    """The id of this request, as in the log and in the answer's X-Request-ID."""
    return str(getattr(request, "request_id", ""))


def wants_json(request: HttpRequest) -> bool:
    """Whether a program reads the answer: by address, by htmx, or because it accepts JSON and not HTML."""
    if request.path.startswith(JSON_ROOMS) or request.headers.get("HX-Request") == "true":
        return True
    accept = request.headers.get("Accept", "")
    return "json" in accept and "html" not in accept


def told(*, status: int, code: str, sentence: str, fix: str, request_id: str) -> dict[str, Any]:
    """What every problem+json says."""
    return {
        "type": f"urn:backstop:problem:{code}",
        "title": _title(status),
        "status": status,
        "detail": sentence,
        "code": code,
        "fix": fix,
        "request_id": request_id,
    }


def problem(
    request: HttpRequest,
    *,
    status: int,
    code: str,
    sentence: str,
    fix: str = "",
    extra: dict[str, Any] | None = None,
) -> HttpResponse:
    """The error as application/problem+json."""
    always = told(status=status, code=code, sentence=sentence, fix=fix, request_id=request_id(request))
    body = {**(extra or {}), **always}
    return HttpResponse(json.dumps(body, default=str), status=status, content_type="application/problem+json")


def answer(
    request: HttpRequest,
    *,
    status: int,
    code: str,
    sentence: str,
    fix: str = "",
    extra: dict[str, Any] | None = None,
) -> HttpResponse:
    """The error for whoever asked: problem+json or a page."""
    if wants_json(request):
        response = problem(request, status=status, code=code, sentence=sentence, fix=fix, extra=extra)
    else:
        response = _page(request, status=status, code=code, sentence=sentence, fix=fix, extra=extra or {})
    if status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
        response["Retry-After"] = str((extra or {}).get("retry_after", RETRY_AFTER_SECONDS))
    response["Cache-Control"] = "no-store"
    return response


def of_domain(request: HttpRequest, error: DomainError) -> HttpResponse:
    """The answer to a request that a verb refused; who tries what they may not is in the log (promises.md A7)."""
    if error.status == HTTPStatus.FORBIDDEN:
        log.warning("refused: %s %s: %s", request.method, request.path, error.sentence)
    return answer(
        request, status=error.status, code=error.code, sentence=error.sentence, fix=error.fix, extra=error.extra
    )


def of_exception(request: HttpRequest, error: BaseException | None) -> HttpResponse | None:
    """The answer to an exception that we know how to tell; None for the others."""
    if isinstance(error, DomainError):
        return of_domain(request, error)
    if _database_away(error):
        log.error("the database does not answer: %s", type(error).__name__)
        return answer(
            request,
            status=503,
            code="unavailable",
            sentence="The database does not answer right now.",
            fix="Try again in a few seconds; nothing was changed.",
        )
    if isinstance(error, RequestDataTooBig):
        return answer(
            request,
            status=413,
            code="too_large",
            sentence="The body is larger than 5 MiB.",
            fix="Send it in smaller parts.",
        )
    if isinstance(error, TooManyFieldsSent | TooManyFilesSent | UnreadablePostError | SuspiciousOperation):
        return bad_request(request, error)
    if isinstance(error, DataError) and "NUL" in str(error):
        return answer(
            request,
            status=422,
            code="invalid",
            sentence="A text holds a NUL character, which cannot be stored. Nothing was changed.",
            fix="Go back, remove it and send it again.",
        )
    return None


def _database_away(error: BaseException | None) -> bool:
    """Also where Django tells it as something else: a session that cannot be saved counts as one that has gone."""
    while isinstance(error, SessionInterrupted | UpdateError):
        error = error.__context__
    return isinstance(error, OperationalError | InterfaceError)


def _title(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def _page(
    request: HttpRequest, *, status: int, code: str, sentence: str, fix: str, extra: dict[str, Any]
) -> HttpResponse:
    # A server error is told without the template: its context needs the session, and so the database.
    if status < HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.BAD_REQUEST:
        context = {
            "status": status,
            "title": _title(status),
            "code": code,
            "sentence": sentence,
            "fix": fix,
            "extra": extra,
            "request_id": request_id(request),
        }
        try:
            return render(request, "error.html", context, status=status)
        except (TemplateDoesNotExist, DatabaseError) as error:
            log.warning("the error page could not be rendered: %s", type(error).__name__)
    return HttpResponse(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{escape(_title(status))} · Backstop</title><h1>{escape(_title(status))}</h1>"
        f"<p>{escape(sentence)}</p><p>{escape(fix)}</p>"
        f"<p>Request <code>{escape(request_id(request))}</code></p><p><a href='/'>To the first page</a></p></html>",
        status=status,
    )


# --- Django's own handlers (config/urls.py) --------------------------------------------------------------------------
def bad_request(request: HttpRequest, exception: BaseException | None = None) -> HttpResponse:
    """400, 413 where the body was too large, or 503 where the session could not be saved."""
    if isinstance(exception, RequestDataTooBig | SessionInterrupted):
        answered = of_exception(request, exception)
        if answered is not None:
            return answered
    return answer(
        request,
        status=400,
        code="bad_request",
        sentence="The request cannot be understood: its host, its form or one of its values is not acceptable.",
        fix="Use the address of this installation (BACKSTOP_BASE_URL), and send the form as the page offers it.",
    )


def forbidden(request: HttpRequest, exception: BaseException | None = None) -> HttpResponse:
    """403."""
    return answer(
        request, status=403, code="forbidden", sentence="You may not do this.", fix="Ask an admin of the team."
    )


def not_found(request: HttpRequest, exception: BaseException | None = None) -> HttpResponse:
    """404, in the same words as for a thing of another team."""
    return answer(
        request,
        status=404,
        code="not_found",
        sentence="There is no such thing here.",
        fix="Check the address, or ask for membership of its team.",
    )


def throttled(request: HttpRequest, exception: BaseException | None = None) -> HttpResponse:
    """429 for too many tries at the sign-in page."""
    return answer(
        request,
        status=429,
        code="throttled",
        sentence="Too many tries from your address.",
        fix="Wait a minute, then try again.",
        extra={"retry_after": 60},
    )


def server_error(request: HttpRequest) -> HttpResponse:
    """500 with the request id, or 503 where the database was away before any view was reached."""
    known = of_exception(request, sys.exc_info()[1])
    if known is not None:
        return known
    return answer(
        request,
        status=500,
        code="internal",
        sentence="Something went wrong on our side; it has been written to the log.",
        fix="Try again; if it stays, tell an operator the request id.",
    )


def csrf_refused(request: HttpRequest, reason: str = "") -> HttpResponse:
    """403 for a form that did not come from one of our pages, or whose page is too old."""
    return answer(
        request,
        status=403,
        code="csrf",
        sentence="This form was not sent from a page of ours, or the page is too old.",
        fix="Reload the page and send it again.",
    )

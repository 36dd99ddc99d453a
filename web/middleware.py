"""What happens around every view: a request id, the permission it declared, and errors told in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode, urlsplit

import structlog
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.middleware.gzip import GZipMiddleware
from django.urls import reverse

from catalog.actors import person
from catalog.models import User
from catalog.permissions import Permission
from web import accounts, problems
from web.policy import TEAMLESS, holds_anywhere, permission_of

Next = Callable[[HttpRequest], HttpResponseBase]
log = structlog.stdlib.get_logger(__name__)
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


def request_id(get_response: Next) -> Next:
    """Give every request an id: in the log lines it causes, in its answer, and in its error page."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        given = problems.new_request_id(request.headers.get("X-Request-ID", ""))
        request.request_id = given  # type: ignore[attr-defined]
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=given)
        response = _refused(request) or get_response(request)
        response["X-Request-ID"] = given
        return response

    return middleware


class Squeeze(GZipMiddleware):
    """Pages go out compressed, in every shape that we run in; files are compressed once, when they are collected.

    Streams stay as they are, or their events would wait in the compressor. Compression must not tell secrets by the
    length of an answer (BREACH): the token of a form is masked anew each time, Django adds noise to the length, and no
    other site can have our pages fetched with a person's cookie (docs/decisions/0016).
    """

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Only what is text for people: the API's answers are small and asked for by programs."""
        if response.streaming or not response.get("Content-Type", "").startswith("text/html"):
            return response
        return super().process_response(request, response)


def _refused(request: HttpRequest) -> HttpResponse | None:
    """Requests that no view should see: odd methods, and NUL, which neither database stores in text."""
    if request.method not in _METHODS:
        response = problems.problem(
            request, status=405, code="method", sentence="This method is not used here.", fix="Use GET or POST."
        )
        response["Allow"] = ", ".join(sorted(_METHODS))
        return response
    if "\x00" in request.path or "%00" in request.META.get("QUERY_STRING", ""):
        return problems.bad_request(request)
    return None


class Policy:
    """Refuses every view that the person may not open, and every view that declares no permission at all."""

    def __init__(self, get_response: Next) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Pages of a signed-in person are theirs alone: no shared cache keeps them."""
        response = self.get_response(request)
        if hasattr(request, "actor") and not response.has_header("Cache-Control"):
            response["Cache-Control"] = "private, no-cache"
        return response

    def process_view(
        self, request: HttpRequest, view: Callable[..., object], args: list[Any], kwargs: dict[str, Any]
    ) -> HttpResponseBase | None:
        """Nothing to go on, or the refusal."""
        permission = permission_of(view)
        if permission is Permission.ANYONE:
            return None
        if permission is None:
            log.error("a view declares no permission", view=getattr(view, "__qualname__", repr(view)))
            return problems.forbidden(request)
        accounts.end_idle_session(request)
        user = request.user
        if not isinstance(user, User):
            return sign_in_first(request)
        request.actor = person(user)  # type: ignore[attr-defined]
        structlog.contextvars.bind_contextvars(user_id=user.pk)
        # SEE is asked with the object at hand: a person without any team sees empty lists, not a refusal.
        if permission is Permission.SEE or permission is Permission.SIGNED_IN:
            return None
        if holds_anywhere(request.actor, permission):  # type: ignore[attr-defined]
            return None
        who = "an org admin" if permission in TEAMLESS else "a team admin"
        return problems.answer(
            request,
            status=403,
            code="forbidden",
            sentence=f"You are not allowed to {permission.value.replace('_', ' ')} in any team.",
            fix=f"Ask {who} for a role that may.",
        )


def sign_in_first(request: HttpRequest) -> HttpResponse:
    """To the sign-in page and back, or 401 for a program and for the parts of a page that fetch themselves.

    A page whose reader was signed out elsewhere stays, with what is half typed in it: live.js says so and leads to the
    sign-in page. A form that htmx sends loads it.
    """
    path = request.get_full_path() if request.method in ("GET", "HEAD") else "/"
    if request.headers.get("HX-Request") == "true":
        path = urlsplit(request.headers.get("HX-Current-URL", "/")).path or "/"
    login = f"{reverse('account_login')}?{urlencode({'next': path})}"
    if not problems.wants_json(request):
        return HttpResponseRedirect(login)
    response = problems.problem(
        request, status=401, code="unauthorized", sentence="You are not signed in.", fix=f"Sign in at {login}."
    )
    if request.headers.get("HX-Request") == "true" and request.method != "GET":
        response["HX-Redirect"] = login
    return response


def domain_errors(get_response: Next) -> Next:
    """Turn what views raise into answers; views never catch DomainError. Unknown exceptions go on to Django's log."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        # Django's and ninja's own 405 carry no words; programs get the same form of error from every door.
        if response.status_code == 405 and request.path.startswith("/api/") and "json" not in response["Content-Type"]:
            allow = response.get("Allow", "")
            response = problems.problem(
                request,
                status=405,
                code="method",
                sentence=f"{request.method} is not used at this address.",
                fix=f"Use {allow}." if allow else "",
            )
            response["Allow"] = allow
        return response

    def process_exception(request: HttpRequest, exception: Exception) -> HttpResponse | None:
        return problems.of_exception(request, exception)

    middleware.process_exception = process_exception  # type: ignore[attr-defined]  # Django looks for this name
    return middleware

"""The JSON API under /api/v1/: the same verbs and the same permission rules as the pages."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from ninja.errors import HttpError, ValidationError
from ninja.renderers import JSONRenderer

from catalog.permissions import Permission
from common.errors import DomainError
from web import problems
from web.api import (
    acting,
    action_items,
    alerts,
    doors,
    effects,
    evaluations,
    incidents,
    marks,
    postmortems,
    runbooks,
    runs,
    search,
    secrets,
    services,
)
from web.api.document import Api
from web.policy import allow

api = Api(
    title="Backstop",
    version="1",
    description="Incidents, runbooks, runs and postmortems. Errors are RFC 9457 problem+json.",
    urls_namespace="api",
    # The stock documentation pages load scripts from elsewhere, which our content security policy forbids.
    docs_url=None,
    auth=[doors.Door(None)],
    parser=doors.StrictParser(),
    renderer=JSONRenderer(),
)
for module in (
    alerts,
    incidents,
    marks,
    acting,
    effects,
    runbooks,
    runs,
    postmortems,
    action_items,
    services,
    evaluations,
    search,
    secrets,
):
    api.add_router("", module.router)


@api.exception_handler(DomainError)
def refused(request: HttpRequest, error: Any) -> HttpResponse:
    """What a verb or a door refused."""
    return problems.of_domain(request, error)


@api.exception_handler(ValidationError)
def invalid(request: HttpRequest, error: Any) -> HttpResponse:
    """What the schema of the operation does not take."""
    return doors.invalid(request, error)


@api.exception_handler(HttpError)
def http_error(request: HttpRequest, error: Any) -> HttpResponse:
    """ninja's own errors, in our words."""
    return problems.problem(
        request, status=error.status_code, code="bad_request", sentence="The request cannot be read.", fix=""
    )


@api.exception_handler(Http404)
def not_found(request: HttpRequest, error: Any) -> HttpResponse:
    """No such address or thing."""
    return problems.not_found(request)


def _mounted() -> tuple[list[Any], str, str]:
    """ninja's addresses, each declared for web.middleware.Policy: the door of every operation decides there."""
    patterns, app_name, namespace = api.urls
    for pattern in patterns:
        assert pattern.callback is not None
        allow(Permission.ANYONE)(pattern.callback)
    return patterns, app_name, namespace


mounted = _mounted()

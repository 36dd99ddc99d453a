"""The door of every API operation: who calls, what they may, and which words of the query and body are known.

Each operation says `auth=permits(Permission.X)`; one that does not is refused to everybody. A caller is a program with
a bearer token, or a signed-in person whose unsafe requests carry the CSRF token. The order is fixed: who (401), may
they (403), is the query known (400), and only then the body (400 not JSON, 422 not what was asked for).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.core import signing
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.datastructures import MultiValueDict
from ninja import Field, Schema
from ninja.errors import ValidationError
from ninja.parser import Parser
from ninja.security import HttpBearer
from ninja.utils import check_csrf
from pydantic import ConfigDict

from catalog import people
from catalog.actors import Actor, person
from catalog.models import User
from catalog.permissions import NEVER_BY_TOKEN, SCOPES, Permission, scoped
from common.errors import DomainError, Forbidden, Invalid
from web import accounts, problems
from web.policy import TEAMLESS, holds_anywhere

MAX_PAGE = 200
# JSON, and the forms of a postmortem's export.
_ACCEPTED = ("*/*", "application/*", "json", "text/*", "text/html", "text/markdown")
_SAFE = {"GET", "HEAD", "OPTIONS"}


class BadRequest(DomainError):
    """The request cannot be read: broken JSON, an unknown word in the query, a cursor of another list."""

    status = 400
    code = "bad_request"


class NotSignedIn(DomainError):
    """Neither a valid token nor a session."""

    status = 401
    code = "unauthorized"


class NotAcceptable(DomainError):
    """The caller accepts nothing that we can send."""

    status = 406
    code = "not_acceptable"


class ApiRequest(HttpRequest):
    """A request that has passed its door."""

    actor: Actor
    request_id: str


class Body(Schema):
    """A request body: unknown fields are refused, so that nobody believes to have set what we ignore."""

    model_config = ConfigDict(extra="forbid", str_max_length=200_000)


class Page(Schema):
    """What every list takes."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(50, ge=1, le=MAX_PAGE)
    cursor: str = Field("", max_length=200)


class Door(HttpBearer):
    """Lets in whoever may do `permission` in some team; the operation then looks at the team of the object."""

    def __init__(self, permission: Permission | None, query: type[Schema] | None = None) -> None:
        super().__init__()
        self.permission = permission
        self.known = frozenset(query.model_fields) if query else frozenset[str]()

    def __call__(self, request: HttpRequest) -> Actor:
        """The actor, or the refusal as an exception."""
        actor = self._who(request)
        request.actor = actor  # type: ignore[attr-defined]  # ApiRequest
        self._may(actor)
        unknown = sorted(set(request.GET) - self.known)
        if unknown:
            raise BadRequest(
                f"The query has an unknown word: {unknown[0][:60]!r}.",
                fix=f"Known here: {', '.join(sorted(self.known)) or 'none'}.",
            )
        accepted = request.headers.get("Accept", "*/*")
        if not any(kind in accepted for kind in _ACCEPTED):
            raise NotAcceptable("This API answers JSON.", fix="Accept application/json.")
        return actor

    def authenticate(self, request: HttpRequest, token: str) -> Actor:
        """The program that shows this token."""
        return people.token_actor(token)

    def _who(self, request: HttpRequest) -> Actor:
        shown = request.headers.get("Authorization", "")
        if shown:
            scheme, _, token = shown.partition(" ")
            if scheme.lower() != "bearer":
                raise NotSignedIn("Only bearer tokens are accepted.", fix="Send `Authorization: Bearer bs_…`.")
            return self.authenticate(request, token.strip())
        accounts.end_idle_session(request)
        if not isinstance(request.user, User):
            raise NotSignedIn("You are not signed in.", fix="Send `Authorization: Bearer bs_…`, or sign in.")
        if request.method not in _SAFE and check_csrf(request):
            raise Forbidden("The CSRF token is missing or wrong.", fix="Send it in the header X-CSRFToken.")
        return person(request.user)

    def _may(self, actor: Actor) -> None:
        permission = self.permission
        if permission is None:
            raise Forbidden("This operation declares no permission.", fix="Tell an operator.")
        if actor.token is not None and permission in NEVER_BY_TOKEN:
            raise Forbidden("No token may do this.", fix="A person signs in and does it in the browser.")
        if actor.token is not None and permission not in scoped(actor.token.scopes):
            needed = next((scope for scope, given in SCOPES.items() if permission in given), "")
            raise Forbidden("This token's scopes do not cover it.", fix=f"It needs the scope {needed}.")
        if permission is Permission.SEE or holds_anywhere(actor, permission):
            return
        who = "an org admin" if permission in TEAMLESS else "a team admin"
        raise Forbidden(
            f"You are not allowed to {permission.value.replace('_', ' ')} in any team.",
            fix=f"Ask {who} for a role that may.",
        )


def permits(permission: Permission, query: type[Schema] | None = None) -> list[Door]:
    """The `auth=` of an operation: the permission it needs, and the schema that names the words of its query."""
    return [Door(permission, query)]


# --- reading ---------------------------------------------------------------------------------------------------------
class StrictParser(Parser):
    """JSON as the standard has it: no NaN, no doubled keys, nothing that a database cannot store as text."""

    def parse_body(self, request: HttpRequest) -> Any:
        """The decoded body; BadRequest for whatever is not JSON."""
        if request.headers.get("Content-Encoding", "identity") != "identity":
            raise BadRequest("Compressed bodies are not read.", fix="Send the body as it is.")
        try:
            body = json.loads(request.body, parse_constant=_no_constant, object_pairs_hook=_no_doubles)
            # Lone surrogates and NUL are legal in JSON and break every database; huge numbers become "inf".
            json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
        except (ValueError, RecursionError) as error:
            reason = str(error)[:120] if isinstance(error, json.JSONDecodeError | BadJson) else type(error).__name__
            raise BadRequest(f"The body is not acceptable JSON: {reason}.", fix="Send one JSON object.") from None
        if not isinstance(body, dict):
            raise BadRequest("The body must be one JSON object.", fix='Send {"field": "value"}.')
        if _has_nul(body):
            raise BadRequest("The body has a NUL character in a text.", fix="Leave U+0000 out.")
        return body

    def parse_querydict(
        self, data: MultiValueDict[str, Any], list_fields: list[str], request: HttpRequest
    ) -> dict[str, Any]:
        """The query, in which no word may be given twice."""
        doubled = [key for key in data if len(data.getlist(key)) > 1 and key not in list_fields]
        if doubled:
            raise BadRequest(f"{doubled[0][:60]!r} is given twice.", fix="Give it once.")
        parsed: dict[str, Any] = super().parse_querydict(data, list_fields, request)
        return parsed


class BadJson(ValueError):
    """JSON that we do not take, with the reason."""


def _no_constant(name: str) -> object:
    raise BadJson(f"{name} is not a JSON number")


def _no_doubles(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadJson("a key is given twice")
    return found


def _has_nul(value: object) -> bool:
    if isinstance(value, str):
        return "\x00" in value
    if isinstance(value, dict):
        return any("\x00" in key or _has_nul(item) for key, item in value.items())
    return isinstance(value, list) and any(_has_nul(item) for item in value)


def invalid(request: HttpRequest, error: ValidationError) -> HttpResponse:
    """400 for the query, 422 for the body, naming each field and what is wrong with it."""
    fields: dict[str, str] = {}
    for fault in error.errors:
        where = [str(part) for part in fault["loc"] if part not in ("body", "query", "path", "payload", "filters")]
        words = "unknown field" if fault["type"] == "extra_forbidden" else str(fault["msg"])
        fields[".".join(where) or "body"] = words
    in_query = all(fault["loc"] and fault["loc"][0] == "query" for fault in error.errors)
    told = "; ".join(f"{field}: {words}" for field, words in list(fields.items())[:5])
    return problems.problem(
        request,
        status=400 if in_query else 422,
        code="bad_request" if in_query else "invalid",
        sentence=f"Not accepted: {told}.",
        fix="Correct what is named; /api/v1/openapi.json lists the fields.",
        extra={"fields": fields},
    )


# --- lists -----------------------------------------------------------------------------------------------------------
def listed(
    rows: QuerySet[Any],
    page: Page,
    shape: Callable[[Any], dict[str, Any]],
    *,
    key: str = "pk",
    newest_first: bool = True,
) -> dict[str, Any]:
    """One page as {"items", "next"}; the cursor is signed, so it cannot be made up, and belongs to one list."""
    salt = f"cursor:{rows.model.__name__}"
    if page.cursor:
        try:
            after = signing.loads(page.cursor, salt=salt)
        except signing.BadSignature:
            raise BadRequest("This cursor is not one of ours.", fix="Take `next` of the page before.") from None
        rows = rows.filter(**{f"{key}__{'lt' if newest_first else 'gt'}": after})
    found: list[Model] = list(rows.order_by(f"-{key}" if newest_first else key)[: page.limit + 1])
    more = len(found) > page.limit
    shown = found[: page.limit]
    last = getattr(shown[-1], key) if shown else None
    return {"items": [shape(row) for row in shown], "next": signing.dumps(last, salt=salt) if more else None}


def aware(moment: datetime, field: str) -> datetime:
    """A moment that says its zone; Invalid for one that does not."""
    if moment.tzinfo is None:
        raise Invalid(
            f"`{field}` has no time zone.", fix="Write it as 2026-11-21T03:00:00Z.", fields={field: "No zone."}
        )
    return moment

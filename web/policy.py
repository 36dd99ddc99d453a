"""Who may open which address: every view declares a permission, and a view without one is refused.

Pages use it so:

    @allow(Permission.SEE)
    def incident(request: PersonRequest, number: int) -> HttpResponse:
        incident = team_object_or_404(Incident.objects.select_related("service"), request.actor, number=number)

The declaration is checked before the view runs (web.middleware.Policy): a visitor is sent to the sign-in page, a person
who holds the permission in no team gets 403. Which team it must be is known only with the object: the helpers here
answer 404 for a team that the person does not belong to, and the verbs ask catalog.permissions.require once more.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import urlencode

from allauth.account.authentication import get_authentication_records
from django.conf import settings
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme

from catalog import permissions
from catalog.actors import Actor
from catalog.models import Team, User
from catalog.permissions import Permission
from common.errors import DomainError, NotFound

V = TypeVar("V", bound=Callable[..., object])
M = TypeVar("M", bound=Model)

# Permissions that need no team to be checked.
TEAMLESS = frozenset({Permission.ANYONE, Permission.SIGNED_IN, Permission.ORG_ADMIN})


class PersonRequest(HttpRequest):
    """A request of a signed-in person: what every view but those of Permission.ANYONE gets."""

    user: User
    actor: Actor
    request_id: str


class SignInAgain(DomainError):
    """What was asked for needs a fresh proof of who asks."""

    status = 403
    code = "sign_in_again"


def allow(permission: Permission) -> Callable[[V], V]:
    """Declare the permission that a view needs; the outermost decorator of the view."""

    def declare(view: V) -> V:
        view.permission = permission  # type: ignore[attr-defined]  # read by web.middleware.Policy and the tests
        return view

    return declare


def permission_of(view: Callable[..., object]) -> Permission | None:
    """The permission that a view declares; None means that nobody may open it."""
    declared = getattr(view, "permission", None)
    return declared if isinstance(declared, Permission) else None


def holds_anywhere(actor: Actor, permission: Permission) -> bool:
    """Whether the actor could do this in some team of theirs."""
    if actor.user is None:
        return False
    if permission in TEAMLESS:
        return permissions.can(actor, permission)
    return bool(permissions.teams_where(actor, permission))


def team_ids(actor: Actor) -> list[int]:
    """Ids of the teams whose things the actor may see."""
    return permissions.teams_of(actor.user) if actor.user is not None else []


def visible(rows: QuerySet[M], actor: Actor, *, team: str = "team", shared: bool = False) -> QuerySet[M]:
    """Only the rows of the actor's teams. `team` is the path to the team ("incident__team", "endpoint__team").

    `shared` also shows rows without a team: the shipped runbooks.
    """
    mine = Q(**{f"{team}__in": team_ids(actor)})
    return rows.filter(mine | Q(**{f"{team}__isnull": True}) if shared else mine)


def team_object_or_404(
    rows: QuerySet[M],
    actor: Actor,
    *,
    permission: Permission = Permission.SEE,
    team: str = "team",
    shared: bool = False,
    **lookup: object,
) -> M:
    """One row of the actor's teams, or NotFound in the same words for "does not exist" and "not yours".

    With a `permission` beyond SEE also Forbidden for a member who does not hold it in the row's team.
    """
    found = visible(rows, actor, team=team, shared=shared).filter(**lookup).first()
    if found is None:
        raise _not_here()
    owner: object = found
    for part in team.split("__"):
        owner = getattr(owner, part)
    if isinstance(owner, Team):
        permissions.require(actor, permission, owner)
    return found


def owned_or_404(found: M | None, owner: Team | None, actor: Actor, permission: Permission) -> M:
    """The same for one row that was read whoever's it is; `owner` is its team."""
    if found is None or owner is None or owner.pk not in team_ids(actor):
        raise _not_here()
    permissions.require(actor, permission, owner)
    return found


def _not_here() -> NotFound:
    return NotFound("There is no such thing here.", fix="Check the address, or ask for membership of its team.")


def team_or_404(actor: Actor, slug: str, *, permission: Permission = Permission.SEE) -> Team:
    """A team of the actor by its slug, or NotFound; Forbidden for a member without the permission."""
    # PostgreSQL refuses to be asked for a NUL.
    found = None if "\x00" in slug else Team.objects.filter(slug=slug).first()
    if found is None:
        raise _not_here()
    permissions.require(actor, permission, found)
    return found


def safe_next(request: HttpRequest, url: str | None, *, default: str = "/") -> str:
    """An address of our own to go to next, or the default: never another host, whatever it looks like."""
    hosts = {request.get_host()}
    if url and url_has_allowed_host_and_scheme(url, allowed_hosts=hosts, require_https=request.is_secure()):
        return url
    return default


def recently_authenticated(request: HttpRequest) -> bool:
    """Whether this person has proved who they are within the last ten minutes, by whatever allauth counts as a proof.

    Ten minutes is promises.md A3: approving, tokens, sign-in settings and break-glass ask for it.
    """
    if not request.user.is_authenticated:
        return False
    proofs = get_authentication_records(request, request.user)
    age = time.time() - max((float(proof["at"]) for proof in proofs), default=0.0)
    return 0 <= age < int(settings.ACCOUNT_REAUTHENTICATION_TIMEOUT)


def reauthenticate_first(request: HttpRequest, *, back_to: str) -> HttpResponseBase | None:
    """Where to send a person whose proof is too old, or None if it is fresh; `back_to` is a path of ours."""
    if recently_authenticated(request):
        return None
    return HttpResponseRedirect(f"{reverse('account_reauthenticate')}?{urlencode({'next': back_to})}")


def require_recent(request: HttpRequest) -> None:
    """Nothing, or SignInAgain with the address that does it: for doors that cannot redirect."""
    if not recently_authenticated(request):
        raise SignInAgain(
            "This needs a fresh sign-in, not older than ten minutes.",
            fix=f"Open {reverse('account_reauthenticate')}, then try again.",
        )


def approval_needs_proof(request: HttpRequest) -> bool:
    """Whether this person must prove who they are before approving (promises.md A3), wherever two people are meant.

    The embedded trial with BACKSTOP_TWO_PERSON=off has one person on one laptop, often without a password.
    """
    return settings.BACKSTOP.two_person_on and not recently_authenticated(request)


def require_recent_for_approval(request: HttpRequest) -> None:
    """Nothing, or SignInAgain: for the door of the API."""
    if approval_needs_proof(request):
        require_recent(request)

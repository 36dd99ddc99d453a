"""Endpoints: the secret addresses to which senders post alerts and changes."""

from __future__ import annotations

import secrets
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F

from catalog import permissions
from catalog.actors import ENGINE, Actor
from catalog.models import Service, Team
from catalog.permissions import Permission
from common import clock
from common.errors import Conflict, DomainError, Invalid, NotFound
from common.secrets import decrypt, encrypt, fingerprint, new_token
from incidents import signatures
from incidents.models import Endpoint
from incidents.sources import SOURCES

# PagerDuty's clients check that an integration key has 32 characters.
_PAGERDUTY = "pagerduty-events"


class UnknownEndpoint(NotFound):
    """No endpoint has this token, or not for this source, or it is switched off: always the same answer."""

    status = 401
    code = "unauthorized"


class BadSignature(DomainError):
    """The token is right, but the body is not signed as this endpoint asks."""

    status = 401
    code = "signature"


def create(
    *,
    source: str,
    name: str,
    team: Team,
    service: Service | None = None,
    config: dict[str, Any] | None = None,
    actor: Actor = ENGINE,
) -> tuple[Endpoint, str]:
    """A new endpoint and its token. The token is stored hashed (to find it) and encrypted (to show the snippet)."""
    _may(actor, team)
    kind = SOURCES.get(source)
    name = name.strip()
    if not name or len(name) > 80:
        raise Invalid("An endpoint needs a name of at most 80 characters.", fields={"name": "1 to 80 characters"})
    if service is not None and service.team_id != team.pk:
        raise Invalid(
            f"There is no service {service.slug!r} in team {team.slug}.", fields={"service": "another team's"}
        )
    kind.check_config(config or {})
    token = _token(source)
    try:
        with transaction.atomic():
            endpoint = Endpoint.objects.create(
                team=team,
                service=service,
                source=source,
                name=name,
                token_sha256=fingerprint(token),
                token_encrypted=encrypt(token.encode()),
                config=config or {},
                created_at=clock.now(),
            )
    except IntegrityError:
        raise Conflict(
            f"Team {team.slug} already has an endpoint named {name!r}.", fix="Choose another name."
        ) from None
    return endpoint, token


# By hand, because every webhook asks: putting such a question together costs Django more than the answer.
_BY_FINGERPRINT = "SELECT * FROM incidents_endpoint WHERE token_sha256 = %s AND source = %s AND enabled"


def by_token(source: str, token: str) -> Endpoint:
    """The endpoint that this token opens for this source; UnknownEndpoint (401) in every other case.

    Found by the token's hash, so the time taken says nothing about tokens that exist.
    """
    # Its team and service are not asked for: whoever stores a delivery needs neither.
    found = list(Endpoint.objects.raw(_BY_FINGERPRINT, [fingerprint(token), source]))
    if not found:
        raise UnknownEndpoint(
            "This address takes no alerts.", fix="Check the token, or make a new endpoint on the page Alert endpoints."
        )
    return found[0]


def configure(endpoint: Endpoint, *, config: dict[str, Any], service: Service | None, actor: Actor) -> Endpoint:
    """Replace the configuration (for generic: the mapping) and the bound service."""
    _may(actor, endpoint.team)
    SOURCES.get(endpoint.source).check_config(config)
    if service is not None and service.team_id != endpoint.team_id:
        raise Invalid("The service belongs to another team.", fields={"service": "another team's"})
    endpoint.config, endpoint.service = config, service
    endpoint.save(update_fields=["config", "service"])
    return endpoint


def rotate(endpoint: Endpoint, *, actor: Actor) -> str:
    """A new token; the old one is refused from this moment."""
    _may(actor, endpoint.team)
    token = _token(endpoint.source)
    endpoint.token_sha256, endpoint.token_encrypted = fingerprint(token), encrypt(token.encode())
    endpoint.save(update_fields=["token_sha256", "token_encrypted"])
    return token


def require_signature(endpoint: Endpoint, *, secret: str = "", actor: Actor) -> str:
    """From now on take only what is signed with the secret, the given one or one made here; gives the secret."""
    _may(actor, endpoint.team)
    scheme = SOURCES.get(endpoint.source).signature
    if scheme is None:
        raise Invalid(
            f"{SOURCES.get(endpoint.source).title} does not sign what it sends.",
            fix="The secret token in its address is what admits it.",
        )
    secret = secret.strip() or signatures.new_secret(scheme)
    signatures.check_secret(scheme, secret)
    endpoint.signing_secret_encrypted = encrypt(secret.encode())
    endpoint.save(update_fields=["signing_secret_encrypted"])
    return secret


def drop_signature(endpoint: Endpoint, *, actor: Actor) -> None:
    """Take what comes to the secret address, signed or not; the secret is forgotten."""
    _may(actor, endpoint.team)
    endpoint.signing_secret_encrypted = b""
    endpoint.save(update_fields=["signing_secret_encrypted"])


def signing_secret(endpoint: Endpoint) -> str:
    """The signing secret in clear, for the set-up page; empty where none is asked for."""
    stored = bytes(endpoint.signing_secret_encrypted)
    return decrypt(stored).decode() if stored else ""


def check_signature(endpoint: Endpoint, *, headers: dict[str, str], body: bytes) -> None:
    """Refuse (401, counted) what is not signed as the endpoint asks; `headers` have lower-case names."""
    scheme, secret = SOURCES.get(endpoint.source).signature, signing_secret(endpoint)
    if not secret or scheme is None:
        return
    if fault := signatures.fault(scheme, secret=secret, headers=headers, body=body, now=clock.now()):
        count_refused(endpoint)
        raise BadSignature(fault, fix="Give the sender the secret that the endpoint's page shows, and set its clock.")


def disable(endpoint: Endpoint, *, actor: Actor) -> None:
    """Refuse what comes from now on; deliveries and alerts stay."""
    _switch(endpoint, enabled=False, actor=actor)


def enable(endpoint: Endpoint, *, actor: Actor) -> None:
    """Take deliveries again."""
    _switch(endpoint, enabled=True, actor=actor)


def token_of(endpoint: Endpoint) -> str:
    """The token in clear, for the set-up page."""
    return decrypt(endpoint.token_encrypted).decode()


def path(endpoint: Endpoint, token: str) -> str:
    """The path to which the sender posts; PagerDuty's clients carry the token in the body instead."""
    return "/v2/enqueue" if endpoint.source == _PAGERDUTY else f"/hooks/{endpoint.source}/{token}"


def url(endpoint: Endpoint, token: str) -> str:
    """The whole address."""
    return f"{settings.BASE_URL}{path(endpoint, token)}"


def snippet(endpoint: Endpoint) -> str:
    """What the operator copies into the sender, with the address filled in."""
    token = token_of(endpoint)
    return SOURCES.get(endpoint.source).snippet.replace("{url}", url(endpoint, token)).replace("{token}", token)


def count_refused(endpoint: Endpoint) -> None:
    """Count a body that was not taken (too large, compressed, badly signed), to be shown: its sender does not retry."""
    Endpoint.objects.filter(pk=endpoint.pk).update(refused_count=F("refused_count") + 1)


def _token(source: str) -> str:
    return secrets.token_hex(16) if source == _PAGERDUTY else new_token()


def _switch(endpoint: Endpoint, *, enabled: bool, actor: Actor) -> None:
    _may(actor, endpoint.team)
    endpoint.enabled = enabled
    endpoint.save(update_fields=["enabled"])


def _may(actor: Actor, team: Team) -> None:
    if actor.user is not None:
        permissions.require(actor, Permission.CONFIGURE, team)

"""Connections to outer systems: their settings, their secrets (encrypted, never shown again), their health line."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from django.db import transaction
from pydantic import BaseModel, ValidationError

from catalog import permissions
from catalog.actors import Actor
from catalog.connectors import CONNECTORS
from catalog.connectors.base import Config, Connector, Secrets
from catalog.models import Connection, Team
from catalog.permissions import Permission
from common import clock, http
from common.errors import Conflict, Invalid
from common.secrets import decrypt, encrypt, redact, remember

_SLUG = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")


def save(
    team: Team, *, slug: str, connector: str, config: dict[str, Any], secrets: dict[str, Any] | None, actor: Actor
) -> Connection:
    """Make or change the team's connection of that name; `secrets` None keeps what is stored, {} forgets it.

    The actor needs `configure` (the engine itself asks nobody). Invalid with `fields` when settings or secrets are not
    what the connector takes; Conflict when the name belongs to another kind of connector.
    """
    if actor.user is not None:
        permissions.require(actor, Permission.CONFIGURE, team)
    if not _SLUG.fullmatch(slug):
        raise Invalid(
            f"The connection's name {slug[:40]!r} cannot be used.",
            fix="Use 1 to 40 small letters, digits, hyphens or underscores.",
            fields={"slug": "Small letters, digits, hyphens and underscores only."},
        )
    kind = CONNECTORS.get(connector)
    _checked(kind.config, config, "config")
    if secrets is not None:
        _checked(kind.secrets, secrets, "secrets")
    with transaction.atomic():
        row = Connection.objects.select_for_update().filter(team=team, slug=slug).first()
        if row is None:
            row = Connection(team=team, slug=slug, connector=connector, created_at=clock.now())
        if row.connector != connector:
            raise Conflict(
                f"{slug} is a connection of kind {row.connector}; the kind cannot be changed.",
                fix="Choose another name.",
            )
        if secrets is None and bytes(row.secrets_encrypted) and _origin(row.config) != _origin(config):
            # Otherwise a stored secret could be sent to a host of one's choice and read there.
            raise Invalid(
                "The address points to another host, so the secrets must be given again.",
                fix="Enter the credentials for the new address.",
                fields={"secrets": "Enter them again for the new host."},
            )
        if row.config != config or secrets is not None:
            row.checked_at, row.healthy, row.health = None, None, ""
        row.config = config
        if secrets is not None:
            row.secrets_encrypted = encrypt(json.dumps(secrets).encode()) if secrets else b""
        row.save()
    return row


def opened(connection: Connection) -> tuple[Connector[Any, Any], Config, Secrets]:
    """The connector with its settings and decrypted secrets, ready to be called."""
    kind = CONNECTORS.get(connection.connector)
    stored = bytes(connection.secrets_encrypted)
    secrets = json.loads(decrypt(stored)) if stored else {}
    remember(secrets)
    return kind, _checked(kind.config, connection.config, "config"), _checked(kind.secrets, secrets, "secrets")


def check(connection: Connection) -> Connection:
    """Ask the outer system whether it answers, and keep the answer as the health line."""
    kind, config, secrets = opened(connection)
    health = kind.health(config, secrets)
    connection.checked_at, connection.healthy = clock.now(), health.ok
    connection.health = redact(health.line)[:300]
    connection.save(update_fields=["checked_at", "healthy", "health"])
    return connection


def fingerprint(connection: Connection) -> str:
    """Twelve letters that change when the connection leads elsewhere: its kind or settings, not its credentials."""
    packed = json.dumps([connection.connector, connection.config], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(packed.encode()).hexdigest()[:12]


def has_secrets(connection: Connection) -> bool:
    """Whether secrets are stored; what they are is shown nowhere."""
    return bool(bytes(connection.secrets_encrypted))


def _checked(model: type[Any], given: dict[str, Any], part: str) -> Any:
    """The values as the connector's model, or Invalid with a sentence per field (never the value: it may be secret)."""
    assert issubclass(model, BaseModel)
    try:
        return model.model_validate(given)
    except ValidationError as error:
        fields = {".".join([part, *(str(bit) for bit in item["loc"])]): item["msg"] for item in error.errors()}
        first, sentence = next(iter(fields.items()))
        raise Invalid(
            f"The connection's {first} is wrong: {sentence}.",
            fix="Correct the fields named here.",
            fields=fields,
        ) from None


def _origin(config: dict[str, Any]) -> str:
    """Where a connection's requests go; empty for one that has no address."""
    url = config.get("url")
    if not isinstance(url, str):
        return ""
    try:
        return http.parse(url).origin
    except http.HttpError:
        return url

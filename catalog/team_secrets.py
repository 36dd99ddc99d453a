"""Secrets of a team that runbooks use by name (`{secret: name}`): written, replaced, deleted, never read back."""

from __future__ import annotations

import re

from catalog import permissions
from catalog.actors import Actor
from catalog.models import Secret, Team
from catalog.permissions import Permission
from common import clock
from common.errors import Invalid, NotFound
from common.secrets import SHORTEST, decrypt, encrypt, remember

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
LONGEST = 10_000


def put(team: Team, *, name: str, value: str, actor: Actor) -> Secret:
    """Keep a value under a name, in place of the one before. The actor needs `configure`.

    Invalid with `fields` for a bad name, and for a value that is too short to be masked safely, or too long.
    """
    if actor.user is not None:
        permissions.require(actor, Permission.CONFIGURE, team)
    faults = {}
    if not NAME.fullmatch(name):
        faults["name"] = "Use 1 to 40 small letters, digits, hyphens or underscores."
    if len(value) < SHORTEST:
        faults["value"] = f"A secret of fewer than {SHORTEST} characters cannot be hidden safely in what is shown."
    elif len(value) > LONGEST:
        faults["value"] = f"At most {LONGEST:,} characters are kept."
    if faults:
        raise Invalid(f"The secret was not kept: {' '.join(faults.values())}", fix="Mend that.", fields=faults)
    remember(value)
    row, _ = Secret.objects.update_or_create(
        team=team,
        name=name,
        defaults={
            "value_encrypted": encrypt(value.encode()),
            "created_at": clock.now(),
            "created_by": actor.label[:120],
        },
    )
    return row


def delete(team: Team, *, name: str, actor: Actor) -> Secret:
    """Forget a secret: steps that name it end in error from now on. Gives what was kept; NotFound for nothing."""
    if actor.user is not None:
        permissions.require(actor, Permission.CONFIGURE, team)
    row = Secret.objects.filter(team=team, name=name).first()
    if row is None or not Secret.objects.filter(pk=row.pk).delete()[0]:
        raise NotFound(f"Team {team.slug} has no secret {name[:40]!r}.", fix="See the list of its secrets.")
    return row


def reveal(team: Team, name: str) -> str:
    """The value, for the call it is meant for and nothing else; from now on this process masks it.

    NotFound with the names that there are for an unknown one.
    """
    row = Secret.objects.filter(team=team, name=name).first()
    if row is None:
        known = ", ".join(Secret.objects.filter(team=team).values_list("name", flat=True)[:20]) or "none"
        raise NotFound(f"Team {team.slug} has no secret {name[:40]!r} (known: {known}).", fix="Keep one of that name.")
    value = decrypt(row.value_encrypted).decode()
    remember(value)
    return value

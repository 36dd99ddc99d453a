"""Who does something: a person, a program with a token, an alert, or the engine itself."""

from __future__ import annotations

from dataclasses import dataclass

from catalog.models import ApiToken, User


@dataclass(frozen=True)
class Actor:
    """The one who acts, passed to every verb. `label` is what timelines show; `role` what causal prose says."""

    label: str
    role: str
    user: User | None = None
    token: ApiToken | None = None

    @property
    def is_person(self) -> bool:
        """Whether a signed-in human acts: only these may approve."""
        return self.user is not None and self.token is None

    @property
    def user_id(self) -> int | None:
        """The person's or the token owner's id."""
        return self.user.pk if self.user else None


ENGINE = Actor("engine", "engine")
ALERT = Actor("alert", "alert")


def person(user: User, role: str = "responder") -> Actor:
    """The actor for a signed-in person."""
    return Actor(user.label, role, user)


def program(token: ApiToken) -> Actor:
    """The actor for an API token; it acts with its owner's roles, narrowed by its scopes."""
    return Actor(f"{token.user.label} (token {token.name})", "program", token.user, token)

"""Browsers from which somebody has signed in before: guessing elsewhere does not slow their owner down.

The limit on wrong passwords per account would otherwise be a way to keep its owner out. A cookie that only a complete
sign-in sets gives that browser a limit of its own (OWASP: device cookies). It proves nothing else and signs nobody in.
"""

from __future__ import annotations

import secrets
from datetime import timedelta

from django.conf import settings
from django.core import signing
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from catalog.models import User

LIFETIME = timedelta(days=90)
_SALT = "device"


def cookie_name() -> str:
    """`__Host-` keeps other hosts of the domain from setting it; browsers take that prefix over https alone."""
    return "__Host-device" if settings.SESSION_COOKIE_SECURE else "device"


def remember(response: HttpResponseBase, user: User) -> None:
    """Mark this browser as one of the person's."""
    response.set_cookie(
        cookie_name(),
        signing.dumps([user.pk, secrets.token_urlsafe(12)], salt=_SALT),
        max_age=LIFETIME,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )


def known(request: HttpRequest, user: User | None) -> str:
    """The mark of this browser if the person signed in from it before; "" otherwise."""
    try:
        owner, mark = signing.loads(request.COOKIES.get(cookie_name(), ""), salt=_SALT, max_age=LIFETIME)
    except (signing.BadSignature, ValueError, TypeError):
        return ""
    return str(mark) if user is not None and owner == user.pk else ""

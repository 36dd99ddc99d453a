"""How people sign in: allauth's login with our rules; nobody can sign up by themselves."""

from __future__ import annotations

from allauth.account.adapter import DefaultAccountAdapter
from django.http import HttpRequest


class Adapter(DefaultAccountAdapter):  # type: ignore[misc]  # allauth ships no types
    """Accounts are made by admins, never by visitors."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Never."""
        return False

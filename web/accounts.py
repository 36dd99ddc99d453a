"""How people sign in: by password through allauth with our rules, or by a one-time login link.

Nobody can sign up by themselves. A session ends after 12 idle hours or 7 days, or after 30 days on a device that its
owner chose to be remembered on; at once when the password changes or the account is switched off.
"""

from __future__ import annotations

import ipaddress
import time
from functools import wraps
from typing import Any

from allauth.account import views as allauth_views
from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.forms import LoginForm
from allauth.account.internal.flows.login import record_authentication
from allauth.account.utils import perform_login
from allauth.core import context
from allauth.core.internal import ratelimit
from django.conf import settings
from django.contrib.auth import logout
from django.contrib.auth.backends import ModelBackend
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from catalog import people
from catalog.models import User
from catalog.permissions import Permission
from common.errors import Forbidden
from web import devices
from web.policy import SignInAgain, allow, recently_authenticated, safe_next

HOUR = 3600
# promises.md A3 for an ordinary session; a remembered device is trusted for a month in all.
IDLE_SECONDS = 12 * HOUR
LONGEST_SECONDS = 7 * 24 * HOUR
REMEMBERED_SECONDS = 30 * 24 * HOUR
# Writing the session at every click would make every read a write.
SEEN_EVERY_SECONDS = 600


class Backend(ModelBackend):
    """Password by user name or e-mail address, with exactly one hash computed whether or not the account exists.

    allauth's own backend hashes twice for a known e-mail address and once for an unknown one, which tells them apart.
    """

    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **kwargs: Any
    ) -> User | None:
        """The person, or None for a wrong password, an unknown name and an account that is switched off alike."""
        name = kwargs.get("email") or username
        if not name or not password:
            return None
        user = User.objects.by_login(name)
        if user is None:
            User().set_password(password)
            return None
        return user if user.check_password(password) and user.is_active else None


class Adapter(DefaultAccountAdapter):  # type: ignore[misc]  # allauth ships no types
    """Accounts are made by admins, never by visitors; guessing is slowed down without locking anybody out."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Never."""
        return False

    def is_safe_url(self, url: str | None) -> bool:
        """Only addresses of the host that was asked."""
        return bool(url) and safe_next(context.request, url, default="") == url

    def get_client_ip(self, request: HttpRequest) -> str:
        """The sender's address; X-Forwarded-For counts only as far as our own proxies wrote it."""
        return client_ip(request)

    def get_password_change_redirect_url(self, request: HttpRequest) -> str:
        """The first page."""
        return "/"

    def _get_login_attempts_cache_key(self, request: HttpRequest, **credentials: Any) -> str:
        return f"{_account(_meant(credentials), credentials)}|{client_ip(request)}"

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        """Refuse for a while after failures: by account and address quickly, by account alone slowly.

        A browser that its owner signed in from before has a slow limit of its own, so that nobody is locked out by
        somebody else's guesses.
        """
        super().pre_authenticate(request, **credentials)
        meant = _meant(credentials)
        key = devices.known(request, meant) or _account(meant, credentials)
        self._anywhere = ratelimit.consume(request, app="allauth.account", action="login_failed_anywhere", key=key)
        if not self._anywhere:
            raise self.validation_error("too_many_login_attempts")

    def authenticate(self, request: HttpRequest, **credentials: Any) -> User | None:
        """The person, or None; only wrong passwords count against the limits."""
        user: User | None = super().authenticate(request, **credentials)
        if user is not None:
            self._anywhere.rollback()
        return user

    def login(self, request: HttpRequest, user: User) -> None:
        """Sign in and begin the session's clocks."""
        super().login(request, user)
        begin_session(request)

    def post_login(self, request: HttpRequest, user: User, **kwargs: Any) -> HttpResponse:
        """On to where they wanted, on a browser that is known from now on."""
        response: HttpResponse = super().post_login(request, user, **kwargs)
        devices.remember(response, user)
        return response

    def add_message(
        self, request: HttpRequest, level: int, message_template: str | None = None, *args: Any, **kwargs: Any
    ) -> None:
        """Only what is news: a person sees that they are signed in or out."""
        if message_template and not message_template.endswith(("logged_in.txt", "logged_out.txt")):
            super().add_message(request, level, message_template, *args, **kwargs)


def _name_of(credentials: dict[str, Any]) -> str:
    return str(credentials.get("email") or credentials.get("username") or "").strip().lower()


def _meant(credentials: dict[str, Any]) -> User | None:
    return User.objects.by_login(_name_of(credentials))


def _account(meant: User | None, credentials: dict[str, Any]) -> str:
    """One key for an account by whichever of its names it is tried; unknown names are slowed down alike."""
    return f"account {meant.pk}" if meant else f"name {_name_of(credentials)}"


class SignInForm(LoginForm):  # type: ignore[misc]  # allauth ships no types
    """User name or e-mail address, password, and whether to remember this device."""

    def login(self, request: HttpRequest, redirect_url: str | None = None) -> HttpResponse:
        """Sign in, with the session as long as was chosen."""
        request.session["remember"] = bool(self.cleaned_data.get("remember"))
        response: HttpResponse = super().login(request, redirect_url=redirect_url)
        return response


def client_ip(request: HttpRequest) -> str:
    """The address of the sender: of the connection, or what the outermost of our own proxies saw."""
    seen = str(request.META.get("REMOTE_ADDR") or "unknown")
    trusted = settings.BACKSTOP.trusted_proxies
    hops = [hop.strip() for hop in request.headers.get("X-Forwarded-For", "").split(",") if hop.strip()]
    if trusted and hops:
        seen = hops[-min(trusted, len(hops))]
    try:
        return str(ipaddress.ip_address(seen))
    except ValueError:
        return "unknown"


# --- sessions --------------------------------------------------------------------------------------------------------
def begin_session(request: HttpRequest) -> None:
    """Start the clocks of a session that has just been signed in to; its form has put `remember` there before."""
    request.session["began_at"] = request.session["seen_at"] = int(time.time())
    request.session.set_expiry(REMEMBERED_SECONDS if request.session.get("remember") else IDLE_SECONDS)


def end_idle_session(request: HttpRequest) -> None:
    """Sign out whoever was away too long; note, at most every ten minutes, that this one is still here."""
    if not request.user.is_authenticated:
        return
    session, now = request.session, int(time.time())
    began, seen = session.setdefault("began_at", now), session.setdefault("seen_at", now)
    remember = bool(session.get("remember"))
    idle, longest = (REMEMBERED_SECONDS, REMEMBERED_SECONDS) if remember else (IDLE_SECONDS, LONGEST_SECONDS)
    if now - seen > idle or now - began > longest:
        logout(request)
    elif now - seen >= SEEN_EVERY_SECONDS:
        session["seen_at"] = now
        session.set_expiry(idle)


# --- views -----------------------------------------------------------------------------------------------------------
@allow(Permission.ANYONE)
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def login_link(request: HttpRequest, token: str) -> HttpResponse:
    """Show whose link it is and one button; only pressing it signs in, because mail scanners open links too."""
    if request.method == "POST":
        wanted = safe_next(request, request.POST.get("next") or request.GET.get("next"))
        user = people.use_login_link(token)
        if request.user.is_authenticated:
            logout(request)
        request.session["remember"] = request.POST.get("remember") == "on"
        record_authentication(request, user, method="login_link")
        # By allauth's own flow, so that a second factor, once there is one, is asked for here too.
        answer: HttpResponse = perform_login(request, user, redirect_url=wanted)
        return answer
    user = people.peek_login_link(token)
    going = {"person": user, "next": safe_next(request, request.GET.get("next"))}
    # The token is in the address. SECURE_REFERRER_POLICY keeps it from other sites; "no-referrer" would keep it from
    # ours too, and a browser then sends `Origin: null` with the form, which the CSRF check must refuse.
    return render(request, "account/login_link.html", going)


@allow(Permission.ANYONE)
def signup(request: HttpRequest) -> HttpResponse:
    """Refuse: accounts are made by admins. allauth wants the address to exist."""
    raise Forbidden("Accounts are made by admins here.", fix="Ask an admin for a login link.")


def _with_proof(view: Any) -> Any:
    """A view of allauth that asks for a fresh proof first: setting a password takes an account over."""

    @wraps(view)
    def fresh(request: HttpRequest) -> HttpResponseBase:
        user = request.user
        if recently_authenticated(request):
            answer: HttpResponseBase = view(request)
            return answer
        if isinstance(user, User) and user.has_usable_password():
            return HttpResponseRedirect(f"{reverse('account_reauthenticate')}?next={request.path}")
        raise _needs_link()

    return fresh


def _needs_link() -> SignInAgain:
    return SignInAgain(
        "This needs a fresh sign-in, not older than ten minutes, and you have no password.",
        fix="Open a new login link (`python manage.py login_link`), then set a password at /password/set.",
    )


@allow(Permission.SIGNED_IN)
def reauthenticate(request: HttpRequest) -> HttpResponseBase:
    """Ask for the password again; a person without one is told to come in by a new link."""
    if not isinstance(request.user, User) or not request.user.has_usable_password():
        raise _needs_link()
    answer: HttpResponseBase = allauth_views.reauthenticate(request)
    return answer


login = allow(Permission.ANYONE)(allauth_views.login)
sign_out = allow(Permission.ANYONE)(allauth_views.logout)
change_password = allow(Permission.SIGNED_IN)(_with_proof(allauth_views.password_change))
set_password = allow(Permission.SIGNED_IN)(_with_proof(allauth_views.password_set))

"""The addresses that are not pages: signing in, hooks, the API, live updates, health."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, include, path, re_path

from catalog.permissions import Permission
from web import accounts, health, hooks, live, problems
from web.api import mounted
from web.policy import allow

doors: list[URLPattern | URLResolver] = [
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("healthz/engine", health.engine, name="healthz_engine"),
    path("metrics", health.metrics, name="metrics"),
    path("hooks/<str:source>/<str:token>", hooks.hook, name="hook"),
    path("hooks/<str:source>", hooks.hook, name="hook_without_token"),
    path("v2/enqueue", hooks.pagerduty, name="pagerduty_enqueue"),
    path("live/<str:kind>/<str:key>", live.stream, name="live"),
    path("version/<str:kind>/<str:key>", live.version, name="version"),
    # The names are allauth's.
    path("login", accounts.login, name="account_login"),
    path("login/link/<str:token>", accounts.login_link, name="login_link"),
    path("logout", accounts.sign_out, name="account_logout"),
    path("signup", accounts.signup, name="account_signup"),
    path("reauthenticate", accounts.reauthenticate, name="account_reauthenticate"),
    path("password", accounts.change_password, name="account_change_password"),
    path("password/set", accounts.set_password, name="account_set_password"),
    path("api/v1/", mounted),
    re_path(r"^api(/|$)", allow(Permission.ANYONE)(problems.not_found), name="api_unknown"),
]

urlpatterns = [*doors, path("", include("web.pages.urls"))]

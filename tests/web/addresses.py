"""How to call every address: what fills its gaps, and what its body says. Whoever adds an address teaches it here.

tests/web/test_matrix.py calls them all, as everybody; it fails for an address that this file does not know.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, get_args

from django.urls import URLPattern, URLResolver, get_resolver

from catalog.permissions import Permission
from tests.factories_web import World
from web import policy
from web.api import api
from web.api.doors import Door
from web.api.postmortems import Format
from web.pages.incidents.incident import PARTS

GAP = re.compile(r"<(?:\w+:)?(\w+)>")
API = "api/v1/"
STREAMS = ("live/", "version/")
EXPORTS = get_args(Format.model_fields["format"].annotation)

# What fills a gap: by the words of the route before it, and its name. The first fit counts; a list is tried in full.
GAPS: list[tuple[str, str, Callable[[World], object]]] = [
    ("hooks/", "source", lambda w: "alertmanager"),
    ("hooks/", "token", lambda w: w.endpoint_token),
    ("login/link/", "token", lambda w: "unknown"),
    ("incidents/", "evidence", lambda w: w.evidence),
    ("incidents/", "evidence_number", lambda w: w.evidence),
    # An impact figure by the API, a signal on the pages: neither takes the other's name for one of its own.
    ("incidents/<int:number>/impact/", "name", lambda w: "users"),
    ("incidents/", "name", lambda w: w.signal.name),
    ("incidents/", "gate", lambda w: w.gate.pk),
    ("incidents/", "seq", lambda w: 1),
    ("incidents/", "part", lambda w: list(PARTS)),
    ("incidents/", "number", lambda w: w.incident.number),
    ("postmortems/", "number", lambda w: w.incident.number),
    ("postmortems/", "key", lambda w: "summary"),
    ("postmortems/", "seq", lambda w: 1),
    ("postmortems/", "offer", lambda w: w.postmortem.offers.all()[0].pk),
    ("postmortems/", "comment", lambda w: w.postmortem.comments.all()[0].pk),
    ("postmortems/", "version", lambda w: w.postmortem.editions.get(number=1).number),
    ("postmortems/", "form", lambda w: list(EXPORTS)),
    ("actions/new/", "number", lambda w: w.incident.number),
    ("actions/", "uuid", lambda w: w.item.uuid),
    ("actions/", "verb", lambda w: ["commit", "begin", "complete", "verify", "decline"]),
    ("runs/", "step", lambda w: "look"),
    ("runs/", "item", lambda w: 0),
    ("runs/", "uuid", lambda w: w.run.uuid),
    ("runs/", "run_id", lambda w: w.run.uuid),
    ("approvals/", "uuid", lambda w: w.approval.uuid),
    ("deliveries/", "uuid", lambda w: w.delivery.uuid),
    ("deliveries/", "delivery_id", lambda w: w.delivery.uuid),
    ("alerts/", "alert_id", lambda w: w.alert.uuid),
    ("action-items/", "item_id", lambda w: w.item.uuid),
    ("runbooks/", "number", lambda w: 1),
    ("runbooks/", "slug", lambda w: w.runbook.slug),
    ("runbooks/", "runbook", lambda w: w.runbook.slug),
    ("services/", "slug", lambda w: w.service.slug),
    ("services/", "service", lambda w: w.service.slug),
    ("services/", "name", lambda w: w.signal.name),
    ("evaluation-sets/", "evaluation_set", lambda w: w.evaluation_set.slug),
    ("connections/", "team", lambda w: w.team.slug),
    ("connections/", "slug", lambda w: w.connection.slug),
    ("secrets/", "team", lambda w: w.team.slug),
    ("secrets/", "name", lambda w: w.secret.name),
    ("endpoints/", "pk", lambda w: w.endpoint.pk),
    ("people/", "username", lambda w: w.member.username),
    ("people/", "team", lambda w: w.team.slug),
    ("teams/", "team", lambda w: w.team.slug),
    ("teams/", "pk", lambda w: w.address.pk),
    ("accounts/", "username", lambda w: w.member.username),
    ("account/addresses/", "pk", lambda w: w.member_address.pk),
    ("account/tokens/", "pk", lambda w: w.token.pk),
    ("guide/", "page", lambda w: "roles"),
    ("files/guide/", "name", lambda w: "incident"),
]
# What can be watched, and the thing of the world; `home` is everybody's own.
KINDS: dict[str, Callable[[World], object]] = {
    "incident": lambda w: w.incident.number,
    "postmortem": lambda w: w.incident.number,
    "run": lambda w: w.run.uuid,
    "team": lambda w: w.team.slug,
    "home": lambda w: "me",
    "delivery": lambda w: w.delivery.uuid,
}
# What the body of an operation of the API says, about things of the world wherever it names one.
BODIES: dict[str, Callable[[World], dict[str, Any]]] = {
    "POST incidents": lambda w: {"title": "x", "service": w.service.slug},
    "POST incidents/{number}/mitigate": lambda w: {"note": "x"},
    "POST incidents/{number}/resolve": lambda w: {"note": "x"},
    "POST incidents/{number}/reopen": lambda w: {"reason": "x"},
    "POST incidents/{number}/severity": lambda w: {"severity": 1, "reason": "x"},
    "POST incidents/{number}/note": lambda w: {"text": "x"},
    "POST incidents/{number}/act": lambda w: {"action": "notify.send", "params": {"text": "x"}, "reason": "x"},
    "PUT incidents/{number}/impact/{name}": lambda w: {"basis": "estimate", "value": 3, "reason": "x"},
    "PUT incidents/{number}/timeline/{seq}/pin": lambda w: {"pinned": True},
    "PUT incidents/{number}/timeline/{seq}/time": lambda w: {"at": "2026-01-02T03:04:00Z", "reason": "x"},
    "POST runbooks": lambda w: {"text": "x: 1", "team": w.team.slug, "check_only": True},
    "POST effects/stop": lambda w: {"reason": "x"},
    "POST effects/allow": lambda w: {"reason": "x"},
    "PUT runbooks/{runbook}/tests": lambda w: {
        "text": f"runbook: {w.runbook.slug}\ncases:\n  - name: x\n    expect: {{starts: false}}\n"
    },
    "POST runs": lambda w: {"runbook": w.runbook.slug, "incident": w.incident.number},
    "POST runs/{run_id}/cancel": lambda w: {"reason": "x"},
    "POST runs/{run_id}/pause": lambda w: {"reason": "x"},
    "POST runs/{run_id}/resume": lambda w: {"reason": "x"},
    "POST runs/{run_id}/steps/{step}/approve": lambda w: {"digest": "d" * 64},
    "POST runs/{run_id}/steps/{step}/reject": lambda w: {"digest": "d" * 64, "reason": "x"},
    "POST runs/{run_id}/steps/{step}/answer": lambda w: {"decision": "done"},
    "POST runs/{run_id}/steps/{step}/skip": lambda w: {"reason": "x"},
    "POST runs/{run_id}/steps/{step}/go-on": lambda w: {"inputs": {}},
    "PUT postmortems/{number}": lambda w: {"body": "# x", "edition": w.postmortem.edition},
    "POST action-items": lambda w: {
        "incident": w.incident.number,
        "title": "Add an alert on drift",
        "kind": "prevent",
        "owner": w.member.username,
        "due_on": "2099-01-31",
    },
    "PATCH action-items/{item_id}": lambda w: {"title": "Add an alert on null rates"},
    "POST evaluation-sets/{evaluation_set}": lambda w: {
        "team": w.team.slug,
        "cases": [{"item": "q1", "input": "x", "expected": "y", "attributes": {"kind": "z"}}],
    },
    "PUT secrets/{team}/{name}": lambda w: {"value": "a-long-value"},
    "PUT services/{service}/autonomy": lambda w: {"level": "observe", "reason": "x"},
    "POST changes": lambda w: {"kind": "code", "summary": "x", "service": w.service.slug},
}
# What a form says whose address names nothing: here it is the form that names a thing of the world.
FORMS: dict[str, Callable[[World], dict[str, Any]]] = {
    "incident_new": lambda w: {"title": "x", "team": w.team.slug, "service": w.service.slug, "severity": "2"},
    # They name nothing at all; without a reason they do nothing.
    "effects_stop": lambda w: {"reason": ""},
    "effects_allow": lambda w: {"reason": ""},
    "runbook_new": lambda w: {"text": "x: 1", "team": w.team.slug, "note": ""},
    "runbook_new_lint": lambda w: {"text": "x: 1", "team": w.team.slug},
    "service_new": lambda w: {"text": "spec: 1\nservice: mine\ntitle: Mine\n", "team": w.team.slug},
    "service_lint": lambda w: {"text": "x: 1", "team": w.team.slug},
    "connection_new": lambda w: {
        "team": w.team.slug,
        "connector": "prometheus",
        "slug": "mine",
        "config": '{"url": "https://prometheus.example.com"}',
    },
    "secret_keep": lambda w: {"team": w.team.slug, "name": "mine", "value": "a-long-value"},
    "evaluation_load": lambda w: {"team": w.team.slug, "slug": "mine"},
    "endpoint_new": lambda w: {"source": "generic", "name": "Mine", "team": w.team.slug},
    "person_new": lambda w: {
        "username": "mine",
        "email": "mine@example.com",
        "team": w.team.slug,
        "roles": ["admin"],
    },
}
# What a form must say so that it is more than a slip of the pen, where the address does name the thing.
WORDS: dict[str, dict[str, str]] = {
    "postmortem_state": {"state": "in_review"},
    "postmortem_comment": {"text": "x"},
    "postmortem_check": {"check": "x"},
    "action_act": {"reason": "Done elsewhere."},
}
# Where one word of the address asks for more than the view declares.
STRICTER: dict[str, Permission] = {
    f"/{word}": Permission.PUBLISH_POSTMORTEM for word in ("commit", "verify", "decline")
}
# Addresses whose gap names nothing that a team owns: a page or picture of the guide, the list of sources of the hooks.
WITHOUT_OWNER = ("guide/", "files/guide/", "hooks/", "login/")
# Open to everybody, in words of their own (tests/web/test_hooks.py, test_sign_in.py, test_health.py).
OPEN = {
    "healthz",
    "readyz",
    "healthz_engine",
    "metrics",
    "hook",
    "hook_without_token",
    "pagerduty_enqueue",
    "account_login",
    "login_link",
    "account_logout",
    "account_signup",
    "api_unknown",
}


@dataclass(frozen=True)
class Call:
    """One address with a method and what it needs; `name` is a page's name, or an operation's key in BODIES."""

    name: str
    method: str
    route: str
    permission: Permission
    takes_body: bool = False

    @property
    def is_owned(self) -> bool:
        """Whether the address names a thing of a team or person."""
        path = self.route.removeprefix(API)
        return bool(GAP.search(path)) and not path.startswith(WITHOUT_OWNER)

    def needs(self, path: str) -> Permission:
        """The permission that this path takes."""
        return next((more for word, more in STRICTER.items() if path.endswith(word)), self.permission)

    def paths(self, world: World) -> list[str]:
        """The address with the world's things in its gaps; fails for a gap that nobody taught it."""
        path = self.route.removeprefix(API)
        if path.startswith(STREAMS):
            start = path.partition("<")[0]
            return [f"/{start}{kind}/{key(world)}" for kind, key in KINDS.items()]
        choices = [_fillings(path, name, world) for name in GAP.findall(path)]
        prefix = "/" + self.route[: len(self.route) - len(path)]
        filled = []
        for values in product(*choices):
            whole = path
            for value in values:
                whole = GAP.sub(value, whole, count=1)
            filled.append(prefix + whole)
        return filled

    def body(self, world: World) -> dict[str, Any] | None:
        """The body of an operation, None where it takes none; fails for one that nobody taught it."""
        if not self.takes_body:
            return None
        assert self.name in BODIES, f"BODIES in tests/web/addresses.py does not know what {self.name} takes"
        return BODIES[self.name](world)


def _fillings(path: str, name: str, world: World) -> list[str]:
    for start, gap, fill in GAPS:
        if path.startswith(start) and gap == name:
            value = fill(world)
            return [str(item) for item in (value if isinstance(value, list) else [value])]
    raise AssertionError(f"GAPS in tests/web/addresses.py cannot fill <{name}> of {path}")


def every_view(patterns: list[Any] | None = None, route: str = "") -> Iterator[tuple[str, URLPattern]]:
    """Route and pattern of every address."""
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        here = route + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from every_view(pattern.url_patterns, here)
        else:
            yield here, pattern


def pages() -> list[Call]:
    """Every address outside the API."""
    found = []
    for route, pattern in every_view():
        if not route.startswith(API):
            permission = policy.permission_of(pattern.callback)
            assert permission is not None, route
            found.append(Call(str(pattern.name), "GET", route, permission))
    return found


def operations() -> list[Call]:
    """Every operation of the API."""
    found: list[Call] = []
    for bound in api._get_bound_routers():
        for path, view in bound.path_operations.items():
            for operation in view.operations:
                door = operation.auth_callbacks[0]
                assert isinstance(door, Door)
                assert door.permission is not None
                takes_body = any(model.__ninja_param_source__ == "body" for model in operation.models)
                key = re.sub(r"\{(?:\w+:)?(\w+)\}", r"{\1}", path)
                route = API + path.replace("{", "<").replace("}", ">")
                found.extend(
                    Call(f"{method} {key}", method, route, door.permission, takes_body) for method in operation.methods
                )
    return found


def by_area(calls: list[Call]) -> dict[str, list[Call]]:
    """Calls by the first word of their route: one world serves an area; a world per address would cost minutes."""
    areas: dict[str, list[Call]] = {}
    for call in calls:
        areas.setdefault(call.route.removeprefix(API).split("/")[0] or "home", []).append(call)
    return areas

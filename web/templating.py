"""The Jinja2 environment of all pages: filters, globals, and what every page knows.

Autoescape is on, a name that is not given is an error, and nothing here calls `Markup` on anybody's text: markup is
built by `Markup.format`, which escapes its arguments.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.template.backends.utils import csrf_input
from django.templatetags.static import static
from django.urls import reverse
from django.utils.functional import SimpleLazyObject
from django_htmx.jinja import htmx_script
from jinja2 import Environment, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup, escape

from catalog.actors import Actor, person
from catalog.models import Team, User
from catalog.permissions import OF_ALL_TEAMS, ROLES, seeing
from common import clock
from common.markdown import to_html
from common.statements import HowMany, Written
from incidents import action_items
from incidents.models import ActionItem
from runbooks import killswitch
from runbooks.models import OPEN_RUN_STATES, StepRun, Worker
from web.pages import words
from web.pages.waiting import WAITING
from web.release import release

# A worker ticks each second; after so many without one, the pages say that nothing will run.
WORKER_SILENT_SECONDS = 20


@dataclass(frozen=True)
class Lamp:
    """Whether any worker is alive; `silent_for` in seconds, None when there never was one."""

    alive: bool
    silent_for: int | None


def environment(**options: Any) -> Environment:
    """Made once by Django's Jinja2 backend."""
    options["undefined"] = StrictUndefined
    options.update(trim_blocks=True, lstrip_blocks=True)
    env = Environment(**options)  # noqa: S701  Django's backend passes autoescape=True
    env.globals.update(static=static, url=_url, htmx_script=htmx_script, words=words)
    env.filters.update(
        moment=moment,
        clock=clock_time,
        date=date,
        duration=duration,
        tplus=tplus,
        percent=percent,
        number=number,
        verdict=lambda word: words.VERDICTS.get(word, word),
        reason=words.reason,
        markdown=lambda text: Markup(to_html(text)),  # noqa: S704  the room's own sanitised HTML
        plural=plural,
    )
    return env


# A page names its addresses a hundred times, most of them the same on every page.
@lru_cache(maxsize=4096)
def _url(name: str, *args: Any, **kwargs: Any) -> str:
    return reverse(name, args=args, kwargs=kwargs)


def page(request: HttpRequest) -> dict[str, Any]:
    """What every page knows: who reads, what waits for them, whether a worker is alive."""
    now = clock.now()
    user = getattr(request, "user", None)
    signed_in = isinstance(user, User) and user.is_active
    known: dict[str, Any] = {
        "now": now,
        # Django's own is masked anew for every form of a page: anew for every answer is what hides it.
        "csrf_input": SimpleLazyObject(lambda: csrf_input(request)),
        "me": user if signed_in else None,
        "release": release(),
        "request_id": getattr(request, "request_id", ""),
        "path": request.path,
        "full_path": request.get_full_path(),
        "area": request.path.strip("/").split("/")[0],
        "teams": [],
        "counts": {"waiting": 0, "overdue": 0},
        "lamp": Lamp(alive=True, silent_for=None),
        "effects_stopped": None,
        "may": lambda permission, team=None: False,
        "base_url": settings.BASE_URL,
        "two_person_off": not settings.BACKSTOP.two_person_on,
    }
    if isinstance(user, User) and signed_in:
        known |= _for_person(getattr(request, "actor", None) or person(user), user, now)
    return known


# What every page asks is written once.
_memberships = Written(lambda user: seeing(user).select_related("team").order_by("team__slug"))
_waiting = HowMany(
    lambda user: StepRun.objects.filter(
        WAITING,
        run__team__in=seeing(user).values("team"),
        run__state__in=OPEN_RUN_STATES,
    )
)
_overdue = HowMany(lambda user, day: ActionItem.objects.filter(action_items.due_before(day), owner=user))
_last_tick = Written(lambda: Worker.objects.order_by("-ticked_at").values_list("ticked_at", flat=True)[:1])


def _for_person(actor: Actor, user: User, now: datetime) -> dict[str, Any]:
    rows = _memberships(user.pk)
    given = {row.team_id: frozenset().union(*(ROLES.get(role, frozenset()) for role in row.roles)) for row in rows}

    def may(permission: str, team: Team | None = None) -> bool:
        """Whether the reader may, in this team or (without one) in any: decides what is shown, never what is done."""
        if permission == "org_admin" or (permission in ("members", *OF_ALL_TEAMS) and user.is_org_admin):
            return user.is_org_admin
        sets = given.values() if team is None else [given.get(team.pk, frozenset())]
        return any(permission in held for held in sets)

    return {
        "actor": actor,
        "teams": [row.team for row in rows],
        "may": may,
        "counts": {"waiting": _waiting(user.pk), "overdue": _overdue(user.pk, now.date())},
        "lamp": lamp(now),
        "effects_stopped": killswitch.engaged(),
    }


def lamp(now: datetime) -> Lamp:
    """Whether a worker gave a sign of life lately."""
    last = _last_tick.first()
    if last is None:
        return Lamp(alive=False, silent_for=None)
    silent = max(0, int((now - last).total_seconds()))
    return Lamp(alive=silent < WORKER_SILENT_SECONDS, silent_for=silent)


# --- filters ---------------------------------------------------------------------------------------------------------


@pass_context
def moment(context: Context, at: datetime | None, absent: str = "never") -> str | Markup:
    """A time as "4 min ago" or "in 26 min", the absolute UTC time on hover; times.js keeps it right."""
    if at is None:
        return absent
    return _time(at, relative(at - _now(context)), "ago")


@pass_context
def clock_time(context: Context, at: datetime | None, *, seconds: bool = False) -> str | Markup:
    """The time of day, `03:14`; with the date when it is not today."""
    if at is None:
        return "unknown"
    at = at.astimezone(UTC)
    form = "%H:%M:%S" if seconds else "%H:%M"
    if abs(_now(context) - at) > timedelta(hours=20):
        form = f"%d %b {form}"
    return _time(at, at.strftime(form), "clock")


def date(at: datetime | None) -> str | Markup:
    """Date and time in UTC, `21 Nov 2026 03:14`."""
    if at is None:
        return "unknown"
    return _time(at, at.astimezone(UTC).strftime("%d %b %Y %H:%M"), "full")


def _time(at: datetime, shown: str, form: str) -> Markup:
    at = at.astimezone(UTC)
    day, time = at.isoformat(" ", "seconds")[:19].split()
    # Figures and words of ours, by hand: `Markup.format` costs eight times as much, and a page shows dozens of times.
    return Markup(  # noqa: S704
        f'<time datetime="{day}T{time}Z" title="{day} {time} UTC" data-form="{form}">{escape(shown)}</time>'
    )


def _now(context: Context) -> datetime:
    known = context.get("now")
    return known if isinstance(known, datetime) else clock.now()


def relative(delta: timedelta) -> str:
    """A distance from now in words."""
    seconds = delta.total_seconds()
    if abs(seconds) < 10:
        return "now"
    return f"in {duration(delta, parts=1)}" if seconds > 0 else f"{duration(-delta, parts=1)} ago"


def duration(value: timedelta | float | None, parts: int = 2) -> str:
    """Seconds or a timedelta as `2 h 14 min`."""
    if value is None:
        return "unknown"
    seconds = value.total_seconds() if isinstance(value, timedelta) else float(value)
    if abs(seconds) < 9.95:
        return f"{seconds:.1f} s" if seconds % 1 else f"{seconds:.0f} s"
    left, found = int(abs(seconds)), []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, left = divmod(left, size)
        if count:
            found.append(f"{count} {unit}")
    return ("−" if seconds < 0 else "") + " ".join(found[:parts])


def tplus(at: datetime, start: datetime | None) -> str:
    """The incident's clock, `T+00:14` (hours and minutes)."""
    if start is None:
        return ""
    minutes = int((at - start).total_seconds() // 60)
    sign, minutes = ("+", minutes) if minutes >= 0 else ("−", -minutes)
    return f"T{sign}{minutes // 60:02d}:{minutes % 60:02d}"


def percent(value: float | None) -> str:
    """A share as `87 %`."""
    return "unknown" if value is None else f"{value * 100:.0f} %"


def number(value: object) -> str:
    """A number with at most four significant digits; anything else as text."""
    if isinstance(value, bool) or value is None:
        return "unknown" if value is None else ("yes" if value else "no")
    if isinstance(value, float):
        return (f"{value:.4g}" if abs(value) < 1e6 else f"{value:,.0f}").replace("-", "−")
    if isinstance(value, int):
        return f"{value:,}".replace("-", "−")
    return str(value)


def plural(count: int, one: str, many: str = "") -> str:
    """`1 alert`, `3 alerts`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"

"""Setting up for real: six steps from an empty product to a first incident, each known from rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST

from catalog.models import Address, Connection, Service, Team
from catalog.permissions import Permission
from incidents.models import Alert, Endpoint
from web.pages.forms import teams_with
from web.policy import PersonRequest, allow

# What the demo seeds (web/operate/demo.py) is nobody's set-up.
DEMO_ENDPOINT, DEMO_SERVICE = "demo", "rag-chat"
DEMO_CONNECTIONS = ("demo-prometheus", "demo-model", "demo-flags", "llm-status")
# Sources that tell of changes and open no incident.
CHANGE_SOURCES = ("github", "changes")
HIDDEN = "setup_hidden"
YEAR_SECONDS = 365 * 24 * 3600


@dataclass(frozen=True)
class Step:
    """One step: what it is for, whether rows say that it is done, and the button and the command that do it."""

    name: str
    word: str
    hint: str
    done: bool
    url: str
    button: str
    # A step that is one press is a form.
    posts: bool = False
    command: str = ""
    is_next: bool = False


@dataclass(frozen=True)
class Setup:
    """The steps of one team."""

    team: Team
    steps: list[Step]

    @property
    def done(self) -> int:
        """How many are behind us."""
        return sum(step.done for step in self.steps)

    @property
    def is_over(self) -> bool:
        """Whether there is nothing left to do."""
        return self.done == len(self.steps)


def setup_of(request: PersonRequest, slug: str = "") -> Setup | None:
    """The steps of the named team, else of the first that this person may set up; None for who may set up nothing."""
    teams = teams_with(request.user, Permission.CONFIGURE)
    team = next((team for team in teams if team.slug == slug), teams[0] if teams else None)
    if team is None:
        return None
    steps = [_team(team), _connection(team), _service(team), _endpoint(team), _alert(team), _address(request, team)]
    following = next((step for step in steps if not step.done), None)
    return Setup(team, [replace(step, is_next=step is following) for step in steps])


def on_home(request: PersonRequest) -> Setup | None:
    """The same for the first page: not beside the demo's own guide, not when all is done or put away."""
    if request.COOKIES.get(HIDDEN):
        return None
    found = setup_of(request)
    if found is None or found.is_over or Endpoint.objects.filter(team=found.team, name=DEMO_ENDPOINT).exists():
        return None
    return found


def _team(team: Team) -> Step:
    people = team.memberships.exclude(roles=[]).count()
    return Step(
        "team", "Name the team",
        f"{team.name}, {people} {'person' if people == 1 else 'people'}. What it owns is seen by its own people alone.",
        done=team.slug != "default" or team.name != "Default" or people > 1,
        url=reverse("team", args=[team.slug]), button="Name it",
    )  # fmt: skip


def _connection(team: Team) -> Step:
    rows = Connection.objects.filter(team=team).exclude(slug__in=DEMO_CONNECTIONS)
    healthy, first = rows.filter(healthy=True).first(), rows.first()
    step = partial(Step, "connection", "Connect what measures")
    if healthy is not None:
        url = reverse("connection", args=[team.slug, healthy.slug])
        return step(hint=f"{healthy.slug} answers: {healthy.health}", done=True, url=url, button="Look")
    if first is not None:
        hint = f"{first.slug} does not answer: {first.health}" if first.health else f"{first.slug} was never asked yet."
        url = reverse("connection", args=[team.slug, first.slug])
        return step(hint=hint, done=False, url=url, button="Check it")
    url = f"{reverse('connection_new')}?connector=prometheus&slug=prometheus&team={team.slug}"
    hint = "Prometheus, so that checks can ask whether it is really worse than before."
    return step(hint=hint, done=False, url=url, button="Connect Prometheus")


def _service(team: Team) -> Step:
    first = Service.objects.filter(team=team).exclude(slug=DEMO_SERVICE).first()
    if first is not None:
        hint = f"{first.title} is described."
        url, button = reverse("service", args=[first.slug]), "Look"
    else:
        hint = "One YAML file says who owns it, how it is measured, and how it is rolled back."
        url, button = reverse("service_new"), "Describe one"
    return Step(
        "service", "Describe a service", hint, done=first is not None, url=url, button=button,
        command="BACKSTOP_SERVICES_DIR=/path/to/services python manage.py prepare",
    )  # fmt: skip


def _endpoints(team: Team) -> list[Endpoint]:
    rows = Endpoint.objects.filter(team=team, enabled=True)
    return list(rows.exclude(name=DEMO_ENDPOINT).exclude(source__in=CHANGE_SOURCES).order_by("pk"))


def _endpoint(team: Team) -> Step:
    first = next(iter(_endpoints(team)), None)
    hint = (
        f"{first.name} takes alerts; its page shows what to copy into the sender."
        if first
        else "A secret address for Alertmanager, Grafana or any other sender, with what to copy into it."
    )
    new = f"{reverse('endpoint_new')}?source=alertmanager&name=Alertmanager&team={team.slug}"
    return Step(
        "endpoint", "Make an endpoint", hint, done=first is not None,
        url=reverse("endpoint", args=[first.pk]) if first else new, button="Look" if first else "Make one",
        command=f"python manage.py endpoint create --source alertmanager --name Alertmanager --team {team.slug}",
    )  # fmt: skip


def _alert(team: Team) -> Step:
    first = next(iter(_endpoints(team)), None)
    seen = Alert.objects.filter(endpoint__team=team, incident__isnull=False).exclude(endpoint__name=DEMO_ENDPOINT)
    alert = seen.select_related("incident").order_by("pk").first()
    step = partial(Step, "alert", "Send a test alert")
    if alert is not None and alert.incident is not None:
        url = reverse("incident", args=[alert.incident.number])
        hint = f"“{alert.title}” opened {alert.incident.key}."
        return step(hint=hint, done=True, url=url, button=f"Open {alert.incident.key}")
    if first is None:
        return step(hint="As soon as there is an endpoint.", done=False, url="", button="")
    url = reverse("endpoint_test", args=[first.pk])
    hint = f"The sample of its sender goes through the door of {first.name} and opens an incident like a real one."
    return step(hint=hint, done=False, url=url, button="Send it", posts=True)


def _address(request: PersonRequest, team: Team) -> Step:
    rows = Address.objects.filter(team=team) | Address.objects.filter(user=request.user)
    reached, first = rows.filter(last_ok_at__isnull=False).first(), rows.first()
    step = partial(Step, "address", "Say where you are told")
    if reached is not None:
        page = reverse("people" if reached.team_id else "account")
        return step(hint=f"{reached.label} was reached.", done=True, url=page, button="Look")
    if first is not None:
        hint = f"{first.label} was not reached yet{': ' + first.last_error if first.last_error else ''}."
        url = reverse("address_test", args=[first.pk])
        return step(hint=hint, done=False, url=url, button="Send a test message", posts=True)
    url = f"{reverse('people')}#team-{team.slug}"
    hint = "Without an address nobody is woken: mail, Slack, a webhook, a pager."
    return step(hint=hint, done=False, url=url, button="Add an address")


@allow(Permission.SIGNED_IN)
def setup(request: PersonRequest) -> HttpResponse:
    """The page, which can be opened at any time."""
    found = setup_of(request, request.GET.get("team", ""))
    context = {"setup": found, "choices": teams_with(request.user, Permission.CONFIGURE)}
    return render(request, "setup/setup.html", context)


@allow(Permission.SIGNED_IN)
@require_POST
def hide(request: PersonRequest) -> HttpResponse:
    """Put the steps away from the first page of this browser, or show them there again."""
    response = redirect("home" if request.POST.get("hide") else "setup")
    if request.POST.get("hide"):
        response.set_cookie(
            HIDDEN, "1", max_age=YEAR_SECONDS, httponly=True, samesite="Lax", secure=request.is_secure()
        )
    else:
        response.delete_cookie(HIDDEN, samesite="Lax")
    return response

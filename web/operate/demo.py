"""The demo of the first run: a simulated AI service that goes wrong while you look, and one finished incident.

Everything goes through the same doors as in production: services from YAML, changes and evaluation cases from the
simulated service, the alert by its webhook. The live alert waits for the first page view.
"""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.db import connection as database

from catalog import changes, connections, loader
from catalog.actors import ENGINE, Actor
from catalog.models import Connection, ModelVersion, Service, Team, User
from common import clock, http
from common.errors import Conflict
from common.secrets import decrypt
from drills import alerting, world
from drills.server import DrillServer
from evaluations import sets
from incidents import endpoints, lifecycle
from incidents.models import Alert, Endpoint, Incident
from runbooks import revisions
from runbooks.models import Runbook
from web.operate import demo_story, door

log = logging.getLogger(__name__)
SERVICE = "rag-chat"
ENDPOINT = "demo"
# A seed whose weak slice is the most frequent one.
SEED = 3
# The world's clock runs this much faster than ours, so that a change of its flag shows within seconds.
SPEED = 4.0
# Enough traffic for a verification of two minutes to tell apart what a real service needs ten for.
TRAFFIC = 600
HISTORY_MINUTES = 110
ONSET_SECONDS = 12 * 60
# The shipped runbook, verified in two minutes instead of a quarter of an hour; its title says so.
SHORTER = {
    "title: Accuracy drop on a served model": "title: Accuracy drop on a served model (demo, verified in 2 minutes)",
    "wait: 12m": "wait: 100s",
    "with: {signal: accuracy, window: 10m}": "with: {signal: accuracy, window: 80s, margin: 0.06}",
    "with: {signal: error_rate, window: 10m}": "with: {signal: error_rate, window: 80s, margin: 0.06}",
}
CONNECTIONS = {"demo-prometheus": "prometheus", "demo-model": "http_json", "demo-flags": "flag"}
_running: DrillServer | None = None
_first_view = threading.Lock()


def seed() -> None:
    """Put the demo's rows into the database; doing it again changes nothing."""
    team = Team.objects.get(slug="default")
    if Service.objects.filter(slug=SERVICE).exists():
        return
    for slug, connector in CONNECTIONS.items():
        connections.save(
            team, slug=slug, connector=connector, config={"url": "http://127.0.0.1:9"}, secrets={}, actor=ENGINE
        )
    sets.load(team, slug="rag-chat-golden", title="RAG chat, golden questions", text=cases())
    text = (Path(world.__file__).parent / "rag-chat.yaml").read_text()
    service = loader.load(text, file="rag-chat.yaml", team=team)
    endpoints.create(source="alertmanager", name=ENDPOINT, team=team, service=service)
    shorten_verification(team)
    demo_story.tell(service, User.objects.get(username="admin"))


def shorten_verification(team: Team) -> None:
    """An edition of the accuracy runbook for the demo; the shipped text stays there as the revision before."""
    runbook = Runbook.objects.get(slug="accuracy_drop")
    assert runbook.current is not None
    text = runbook.current.text
    for shipped, short in SHORTER.items():
        assert shipped in text, shipped
        text = text.replace(shipped, short)
    revision = revisions.save(
        runbook, text=text, actor=ENGINE, team=team, note="Shorter verification, for the demo.", source="editor"
    )
    revisions.publish(revision, actor=ENGINE)


def cases() -> str:
    """A third of the world's 900 questions: enough to see the fault, and answered within half a minute."""
    return "\n".join(make_world().evaluation_items().splitlines()[::3])


def make_world() -> world.World:
    """The simulated service of the demo, healthy so far."""
    return world.World("none", seed=SEED, speed=SPEED, history=HISTORY_MINUTES, traffic=TRAFFIC)


def break_world(made: world.World) -> None:
    """Twelve minutes ago a new model version was deployed, and it answers some questions worse."""
    now = made.now()
    made.inject("model_regression", 1.0, at=made.time.minute(now - ONSET_SECONDS) - made.time.minute(now))
    made.warm_up()


def start_world() -> None:
    """Start the simulated service beside this process and point the demo's connections at it."""
    global _running
    made = make_world()
    serving = ModelVersion.objects.filter(service__slug=SERVICE, state="serving").first()
    if serving is not None and serving.version != made.flag("chat-model"):
        # The world forgets at every start; what serves is in the database.
        made.set_flag("chat-model", serving.version, expect=None, key="")
    _running = world.serve(made, 0)
    http.allow(_running.url)
    door.DOOR.demo = Demo()
    for row in Connection.objects.filter(slug__in=CONNECTIONS, team__slug="default"):
        connections.save(
            row.team, slug=row.slug, connector=row.connector, config={"url": _running.url}, secrets=None, actor=ENGINE
        )


def is_on() -> bool:
    """Whether this process runs the simulated service."""
    return _running is not None


def first_view() -> None:
    """The first look at a page sets the incident off, in the background; every later one does nothing."""
    if _running is None or not _first_view.acquire(blocking=False):
        return
    endpoint = Endpoint.objects.filter(team__slug="default", name=ENDPOINT).first()
    if endpoint is None or Alert.objects.filter(endpoint=endpoint).exists():
        return
    threading.Thread(target=_go_wrong, args=(endpoint,), name="demo", daemon=True).start()


def _go_wrong(endpoint: Endpoint) -> None:
    """Twelve minutes ago a new model version was deployed; now its alert arrives by webhook."""
    assert _running is not None
    made = _running.world
    try:
        break_world(made)
        _learn_changes(endpoint.team, made)
        token = decrypt(endpoint.token_encrypted).decode()
        url = f"{settings.BASE_URL}/hooks/alertmanager/{token}"
        answer = alerting.fire(made, url, status="firing", kind="", severity="critical", labels={})
        if answer["status"] != 202:
            log.warning("the demo's alert was answered with %s", answer["status"])
    finally:
        database.close()


def _learn_changes(team: Team, made: world.World) -> None:
    """What the world changed lately goes into the ledger, as a deployment pipeline would tell it."""
    service = Service.objects.get(slug=SERVICE)
    for change in made.changes():
        occurred = datetime.fromisoformat(str(change["occurred_at"])).astimezone(UTC)
        if change["effect_key"]:
            continue
        changes.record(
            team=team,
            service=service,
            kind=str(change["kind"]),
            summary=str(change["summary"]),
            source="demo",
            occurred_at=occurred,
            subject=str(change["subject"]),
            version=str(change["version"]),
            author=str(change["author"]),
            environment="production",
            external_id=f"{change['id']}@{occurred:%Y%m%dT%H%M}",
        )


def again(actor: Actor) -> None:
    """Run it again: the alert stops, the incident is resolved, the new version serves again and goes wrong anew."""
    if _running is None:
        raise Conflict("The demo does not run in this process.", fix="Start with `make run`, without --no-demo.")
    endpoint = Endpoint.objects.get(team__slug="default", name=ENDPOINT)
    made = _running.world
    token = decrypt(endpoint.token_encrypted).decode()
    url = f"{settings.BASE_URL}/hooks/alertmanager/{token}"
    alerting.fire(made, url, status="resolved", kind="", severity="critical", labels={})
    for incident in Incident.objects.filter(service__slug=SERVICE).exclude(state__in=["resolved", "closed"]):
        lifecycle.resolve(incident, actor=actor, note="The demo runs again.")
    made.inject("none")
    made.set_flag("chat-model", "v43", expect=None, key="")
    now = clock.now()
    ModelVersion.objects.filter(service__slug=SERVICE, version="v42").update(state="kept", served_to=now)
    ModelVersion.objects.filter(service__slug=SERVICE, version="v43").update(
        state="serving", served_from=now - timedelta(minutes=12), served_to=None
    )
    threading.Thread(target=_go_wrong, args=(endpoint,), name="demo", daemon=True).start()


class Demo:
    """The demo as pages see it."""

    def first_view(self) -> None:
        """See `first_view`."""
        first_view()

    def again(self, actor: Actor) -> None:
        """See `again`."""
        again(actor)

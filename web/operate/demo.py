"""The demo of the first run: a simulated AI service that goes wrong while you look, and one finished incident.

Everything goes through the same doors as in production: services from YAML, changes and evaluation cases from the
simulated service, the alert by its webhook. The live alert waits for the first page view.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.db import connection as database
from django.db import transaction

from catalog import changes, connections, loader, versions
from catalog.actors import ENGINE, Actor
from catalog.models import Change, Connection, ModelVersion, Service, Team, User
from common import clock, http
from common.errors import Conflict
from common.secrets import decrypt
from drills import alerting, world
from drills.server import DrillServer
from evaluations import sets
from incidents import endpoints, lifecycle, timeline
from incidents.models import Alert, Endpoint, Incident
from runbooks import runs
from runbooks.models import OPEN_RUN_STATES, Run
from web.operate import demo_book, demo_story, door

log = logging.getLogger(__name__)
SERVICE = "rag-chat"
ENDPOINT = SOURCE = "demo"
# A seed whose weak slice is the most frequent one.
SEED = 3
# The world's clock runs this much faster than ours, so that a change of its flag shows within seconds.
SPEED = 4.0
# So much traffic, nearly all of it labelled, that a verification of three minutes decides what a real service needs
# a quarter of an hour for: whenever it looks, its interval is narrower than the margin (tests/web/operate/test_demo).
TRAFFIC = 1500
LABELLED = 0.9
# An hour of baseline before the onset, the five minutes that are left out between them, and a little more.
HISTORY_MINUTES = 80
# A simulated service that is started again in the middle of its trouble remembers so much of it.
LONGEST_HISTORY_MINUTES = 360
ONSET_SECONDS = 12 * 60
OLD, NEW = "v42", "v43"
OLD_SERVED_DAYS = 12
LONGEST_WAIT_SECONDS = 60.0
AGAIN = "The demo runs again."
# How often it is looked whether the old version serves again, and for how long it must have before the alert stops:
# longer than the verification takes, as in earnest, where a rule looks back over its window.
LOOK_SECONDS = 2.0
CALM_SECONDS = 200.0
# Each with its connector and where the simulated service answers for it.
CONNECTIONS = {
    "demo-prometheus": ("prometheus", ""),
    "demo-model": ("http_json", ""),
    "demo-flags": ("flag", ""),
    "llm-status": ("http_json", "/status"),
}


def seed() -> None:
    """Put the demo's rows into the database; doing it again changes nothing."""
    team = Team.objects.get(slug="default")
    if Service.objects.filter(slug=SERVICE).exists():
        demo_book.switch(on=True)
        return
    # Where the simulated service will answer is known once it has started; port 9 discards.
    connect(team, "http://127.0.0.1:9")
    service = load_service(team)
    endpoints.create(source="alertmanager", name=ENDPOINT, team=team, service=service)
    demo_book.make(team)
    demo_story.tell(service, User.objects.get(username="admin"))


def connect(team: Team, url: str) -> None:
    """Point the demo's connections at a simulated service."""
    known = set(Connection.objects.filter(team=team).values_list("slug", flat=True))
    for slug, (connector, path) in CONNECTIONS.items():
        secrets: dict[str, str] | None = None if slug in known else {}
        connections.save(
            team, slug=slug, connector=connector, config={"url": f"{url}{path}"}, secrets=secrets, actor=ENGINE
        )


def load_service(team: Team) -> Service:
    """The simulated service in the catalog, with its evaluation set; its old version has served for days."""
    sets.load(team, slug="rag-chat-golden", title="RAG chat, golden questions", text=cases(), actor=ENGINE)
    text = (Path(world.__file__).parent / "rag-chat.yaml").read_text()
    service = loader.load(text, file="rag-chat.yaml", team=team)
    versions.promote(service, OLD, at=clock.now() - timedelta(days=OLD_SERVED_DAYS))
    return service


def cases() -> str:
    """A third of the world's 900 questions: enough to see the fault, and answered within half a minute."""
    return "\n".join(make_world().evaluation_items().splitlines()[::3])


def make_world(history: int = HISTORY_MINUTES, wall: Callable[[], float] = time.time) -> world.World:
    """The simulated service of the demo, healthy so far: its old version serves."""
    return world.World(
        "none",
        seed=SEED,
        speed=SPEED,
        clock=wall,
        history=history,
        traffic=TRAFFIC,
        labelled=LABELLED,
        version=OLD,
    )


def break_world(made: world.World, seconds_ago: float = ONSET_SECONDS) -> None:
    """Twelve minutes ago a new model version was deployed, and it answers some questions worse."""
    now = made.now()
    made.inject("model_regression", 1.0, at=made.time.minute(now - seconds_ago) - made.time.minute(now))
    made.warm_up()


def start_world() -> Demo:
    """Start the simulated service beside this process and point the demo's connections at it."""
    running = world.serve(resumed_world(), 0)
    http.allow(running.url)
    connect(Team.objects.get(slug="default"), running.url)
    door.DOOR.demo = Demo(running)
    return door.DOOR.demo


def resumed_world() -> world.World:
    """The simulated service forgets at every stop; what had become of it is in the database.

    While it is well nobody asks it anything, so it needs no history that would slow down the first page.
    """
    new = ModelVersion.objects.filter(service__slug=SERVICE, version=NEW, state="serving").first()
    if new is None or new.served_from is None:
        return make_world(history=1)
    incident = Incident.objects.filter(service__slug=SERVICE, is_drill=False).order_by("-number").first()
    began = incident.started_at if incident else new.served_from
    seconds = min((clock.now() - began).total_seconds(), LONGEST_HISTORY_MINUTES * 60.0) + 120
    made = make_world(HISTORY_MINUTES + int(seconds // 60))
    break_world(made, seconds)
    return made


class Demo:
    """The demo as pages see it: one live incident at a time, in a simulated service of this process.

    Its alert stops as a real one does: by itself, some time after the old version serves again.
    """

    def __init__(self, running: DrillServer) -> None:
        self.running = running
        # Held while trouble begins.
        self._beginning = threading.Lock()
        self._seen = False
        self._fires = Alert.objects.filter(endpoint=_endpoint(), status="firing").exists()
        self._closed = threading.Event()
        threading.Thread(target=self._watch, name="demo-alert", daemon=True).start()

    def first_view(self) -> None:
        """The first look at a page sets the incident off, in the background; every later one does nothing."""
        if self._seen or not self._beginning.acquire(blocking=False):
            return
        self._seen = True
        endpoint = _endpoint()
        if endpoint is None or Alert.objects.filter(endpoint=endpoint).exists():
            self._beginning.release()
            return
        self._begin(endpoint)

    def again(self, actor: Actor) -> None:
        """Run it again: the alert stops, the incident is resolved, and a fresh world goes wrong anew.

        The incidents of earlier rounds become exercises: they belong to a past that the fresh world does not have, so
        they must not spoil its baseline.
        """
        endpoint = _endpoint()
        if endpoint is None or not self._beginning.acquire(blocking=False):
            raise Conflict("The demo is beginning already.", fix="Its alert arrives within seconds; look at Now.")
        try:
            self._fires = False
            self._send(endpoint, status="resolved")
            self._put_away(actor)
        except BaseException:
            self._beginning.release()
            raise
        self._begin(endpoint)

    @property
    def is_beginning(self) -> bool:
        """Whether the next alert is on its way."""
        return self._beginning.locked()

    def close(self) -> None:
        """Stop the simulated service."""
        self._closed.set()
        http.forget(self.running.url)
        self.running.close()
        door.DOOR.demo = None

    def _put_away(self, actor: Actor) -> None:
        for run in Run.objects.filter(service__slug=SERVICE, state__in=["queued", "active", "paused"]):
            runs.cancel(run, actor=actor, reason=AGAIN)
        for incident in Incident.objects.filter(service__slug=SERVICE, is_drill=False):
            if incident.state not in ("resolved", "closed"):
                lifecycle.resolve(incident, actor=actor, note=AGAIN)
            with transaction.atomic():
                Incident.objects.filter(pk=incident.pk).update(is_drill=True)
                timeline.record(incident, kind="state", actor=actor, text=f"{AGAIN} This one is an exercise now.")
        # The evidence of earlier rounds keeps what it says of them; new checks must not weigh changes that never were.
        Change.objects.filter(service__slug=SERVICE, source=SOURCE).delete()
        versions.promote(Service.objects.get(slug=SERVICE), OLD, at=clock.now())

    def _begin(self, endpoint: Endpoint) -> None:
        threading.Thread(target=self._go_wrong, args=(endpoint,), name="demo", daemon=True).start()

    def _go_wrong(self, endpoint: Endpoint) -> None:
        """In a fresh world a new model version was deployed and is worse; now its alert arrives by webhook."""
        try:
            _wait_for_runs()
            made = make_world()
            break_world(made)
            self.running.world = made
            _learn_changes(endpoint.team, made)
            service = Service.objects.get(slug=SERVICE)
            versions.promote(service, NEW, at=datetime.fromtimestamp(made.onset(), UTC))
            self._send(endpoint, status="firing")
            self._fires = True
        finally:
            self._beginning.release()
            database.close()

    def _watch(self) -> None:
        """Send the alert's end once the old version has served for as long as the rule looks back."""
        well_for = 0.0
        while not self._closed.wait(LOOK_SECONDS):
            is_well = self._fires and self.running.world.flag("chat-model") == OLD
            well_for = well_for + LOOK_SECONDS if is_well else 0.0
            endpoint = _endpoint() if well_for >= CALM_SECONDS else None
            if endpoint is not None:
                self._fires = False
                self._send(endpoint, status="resolved")
                database.close()

    def _send(self, endpoint: Endpoint, *, status: str) -> None:
        """The alert, through the door that every other alert comes in by."""
        token = decrypt(endpoint.token_encrypted).decode()
        url = f"{settings.BASE_URL}/hooks/alertmanager/{token}"
        answer = alerting.fire(self.running.world, url, status=status, kind="", severity="critical", labels={})
        if answer["status"] != 202:
            log.warning("the demo's alert was answered with %s: %s", answer["status"], answer["body"])


def _endpoint() -> Endpoint | None:
    return Endpoint.objects.filter(team__slug="default", name=ENDPOINT).first()


def _wait_for_runs() -> None:
    """A run of an earlier round may still be ending; the new alert would join it."""
    until = time.monotonic() + LONGEST_WAIT_SECONDS
    while Run.objects.filter(service__slug=SERVICE, state__in=OPEN_RUN_STATES).exists() and time.monotonic() < until:
        time.sleep(0.5)


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
            source=SOURCE,
            occurred_at=occurred,
            subject=str(change["subject"]),
            version=str(change["version"]),
            author=str(change["author"]),
            environment="production",
            external_id=f"{change['id']}@{occurred:%Y%m%dT%H%M}",
        )

"""The demo: one live incident by the first look, repeatable, and a short verification that decides."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from catalog import people, versions
from catalog.actors import person
from catalog.models import Change, Service, Team
from common import clock
from common.errors import Conflict
from drills.world import World
from incidents import citations, intake, lifecycle, postmortem_checks
from incidents.models import Delivery, Incident, Postmortem
from runbooks import library, schema
from runbooks.checks import comparing
from runbooks.models import Runbook
from tests.factories import make_incident, make_team
from tests.factories_evaluations import START, Hand
from web.operate import demo, demo_book, prepare

CORRECT = 'sum(increase(ml_labels_total{outcome="correct"}[60s]))'
LABELLED = "sum(increase(ml_labels_total[60s]))"


def counted(world: World, query: str, end: float, seconds: int) -> int:
    """Events in a window, step by step, as metric.compare counts them."""
    first = end - 60 * (seconds // 60 - 1)
    found = world.range(query, first, end, 60)
    # The world is scraped every 15 s.
    return round(0.75 * sum(value[0][1] for _, value in found if not isinstance(value, float) and value))


@pytest.mark.slow
@pytest.mark.parametrize("idle", [0, 47 * 60])
def test_it_verifies_the_cure_whenever_it_looks(idle: int) -> None:
    hand = Hand()
    world = demo.make_world(wall=hand)
    demo.break_world(world)
    hand.at += 20 + idle
    onset, approved = world.onset() + 120, hand.at
    before = [counted(world, query, onset - 300, 3600) for query in (CORRECT, LABELLED)]
    world.set_flag("chat-model", "v42", expect="v43")
    verdicts = set()
    for late in range(200):
        hand.at = approved + 150 + late * 1.7
        now = [counted(world, query, hand.at, 130) for query in (CORRECT, LABELLED)]
        found = comparing.rates(
            k_now=now[0], n_now=now[1], k_before=before[0], n_before=before[1],
            margin=0.06, min_n=100, better="higher", looks=3,
        )  # fmt: skip
        verdicts.add(found.verdict)
    assert verdicts == {"pass"}


def test_it_does_not_verify_what_was_not_cured() -> None:
    hand = Hand()
    world = demo.make_world(wall=hand)
    demo.break_world(world)
    hand.at += 170
    now = [counted(world, query, hand.at, 130) for query in (CORRECT, LABELLED)]
    before = [counted(world, query, START - 15 * 60, 3600) for query in (CORRECT, LABELLED)]
    found = comparing.rates(
        k_now=now[0], n_now=now[1], k_before=before[0], n_before=before[1], margin=0.06, min_n=100, better="higher"
    )
    assert found.verdict == "fail"


@pytest.fixture
def seeded(transactional_db: None) -> Team:
    """A first start with the demo."""
    people.first_user()
    library.load_shipped()
    demo.seed()
    return Team.objects.get(slug="default")


@pytest.fixture
def running(seeded: Team, live_server: Any, settings: Any) -> Iterator[demo.Demo]:
    """The demo of a process that serves its hooks."""
    settings.BASE_URL = live_server.url
    started = demo.start_world()
    yield started
    started.close()


def wait_for(true: Callable[[], bool]) -> None:
    """Until the demo's own thread has done it."""
    until = time.monotonic() + 60
    while not true():
        assert time.monotonic() < until
        time.sleep(0.1)


def statuses() -> list[str]:
    """What the deliveries of the demo's endpoint said, in order."""
    return [json.loads(intake.redacted(row))["status"] for row in Delivery.objects.order_by("id")]


def test_it_seeds_once(seeded: Team) -> None:
    incidents, text = Incident.objects.count(), Runbook.objects.get(slug=demo_book.COPY).current
    demo.seed()
    assert Incident.objects.count() == incidents == 1
    assert Runbook.objects.get(slug=demo_book.COPY).current == text


def test_its_runbook_says_that_it_is_short(seeded: Team) -> None:
    current = Runbook.objects.get(slug=demo_book.COPY).current
    assert current is not None
    assert "demo, verified in 3 minutes" in current.text
    assert schema.check(current.text, file="demo") == []


def started_by_alerts_of(team: Team) -> list[str]:
    """The accuracy runbooks that an alert of the team starts."""
    rows = Runbook.objects.started_by_alerts_of(team).filter(incident_type="accuracy_drop")
    return [row.slug for row in rows]


def test_it_leaves_the_shipped_runbook_as_it_is(seeded: Team) -> None:
    shipped = Runbook.objects.get(slug="accuracy_drop")
    assert [row.source for row in shipped.revisions.all()] == ["library"]
    assert started_by_alerts_of(seeded) == ["accuracy_drop_demo"]
    assert started_by_alerts_of(make_team("search")) == ["accuracy_drop"]


def test_without_the_demo_its_runbook_starts_nothing(seeded: Team) -> None:
    prepare.seed()
    assert started_by_alerts_of(seeded) == ["accuracy_drop"]
    demo.seed()
    assert started_by_alerts_of(seeded) == ["accuracy_drop_demo"]


def test_only_the_first_look_sets_it_off(running: demo.Demo) -> None:
    for _ in range(3):
        running.first_view()
    wait_for(lambda: Delivery.objects.exists())
    running.first_view()
    assert statuses() == ["firing"]
    serving = versions.serving(Service.objects.get(slug="rag-chat"))
    assert serving is not None
    assert (serving.version, running.running.world.flag("chat-model")) == ("v43", "v43")


def test_it_runs_again_from_a_healthy_past(running: demo.Demo, seeded: Team) -> None:
    running.first_view()
    wait_for(lambda: Delivery.objects.exists())
    service = Service.objects.get(slug="rag-chat")
    earlier = make_incident(seeded, service=service)
    wait_for(lambda: not running.is_beginning)
    running.again(person(people.first_user()))
    with pytest.raises(Conflict, match="beginning already"):
        running.again(person(people.first_user()))
    wait_for(lambda: statuses() == ["firing", "resolved", "firing"])
    earlier.refresh_from_db()
    assert (earlier.state, earlier.is_drill) == ("resolved", True)
    assert Change.objects.filter(service=service, kind="model").count() == 1


def test_a_restart_finds_the_trouble_as_it_was(seeded: Team) -> None:
    service, now = Service.objects.get(slug="rag-chat"), clock.now()
    versions.promote(service, "v43", at=now - timedelta(minutes=40))
    lifecycle.declare(
        team=seeded, service=service, title="x", severity=1, actor=person(people.first_user()),
        started_at=now - timedelta(minutes=38),
    )  # fmt: skip
    made = demo.resumed_world()
    assert made.flag("chat-model") == "v43"
    assert abs(made.onset() - (now - timedelta(minutes=40)).timestamp()) < 90


def test_its_first_postmortem_is_a_finished_one(seeded: Team) -> None:
    row = Postmortem.objects.get(incident__number=1)
    assert row.state == "published"
    assert citations.open_questions(row.body) == []
    assert [one.message for one in postmortem_checks.checks(row) if one.code != "item"] == []
    assert {author for author, _ in row.authors.values()} == {"Admin"}
    assert "214 of 3,090 users" in row.body
    assert row.published_at is not None

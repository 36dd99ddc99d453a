"""F28: nobody worked for two hours. Whoever is told then is told what still counts, and the rest once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from catalog.actors import ALERT
from catalog.models import Team
from incidents import lifecycle, notices, outbox, postmortems, schedule
from incidents.models import Incident, Message, TimelineEntry
from runbooks import approvals, backlog, execution
from runbooks.models import ApprovalRequest, Run, Worker
from tests.conftest import Clock
from tests.factories import make_actor, make_incident, make_service, make_user
from tests.factories_intake import make_endpoint, take
from tests.factories_postmortems import make_address
from tests.factories_runbooks import make_runbook, pump, start, step, switching
from tests.factories_web import signed_in
from tests.fakes import web
from tests.fakes.world import World
from web.operate import watch

pytestmark = pytest.mark.django_db

ASKING = switching("set", "risk: medium", "approval: {from: [role:oncall], timeout: 4h}")


class Phone:
    """An address of the team, and what arrived there."""

    def __init__(self, server: web.Web) -> None:
        self.server = server

    @property
    def notes(self) -> list[dict[str, str]]:
        return [json.loads(asked.body) for asked in self.server.asked]

    @property
    def subjects(self) -> list[str]:
        return [note["subject"] for note in self.notes]


@pytest.fixture
def phone(team: Team) -> Iterator[Phone]:
    with web.serve(lambda asked: web.Reply()) as server:
        make_address(server.url, team=team, label="chat")
        yield Phone(server)


def send(team: Team, names: list[str], **changes: Any) -> None:
    """An alert for each name, of a service of its own."""
    endpoint = make_endpoint(team, "generic")
    for name in names:
        body = {"title": f"{name} is slow", "dedup_key": name, "severity": "high", "labels": {"service": name}}
        take(endpoint, body | changes)
        take(endpoint, body | changes | {"status": "resolved"}) if name.startswith("gone") else None


def come_back(moved_clock: Clock) -> None:
    """Workers are there again, and have found within seconds what ran out meanwhile."""
    pump()
    moved_clock.forward(seconds=11)
    pump()


def told(incident: Incident) -> list[str]:
    return list(TimelineEntry.objects.filter(incident=incident, kind="message").values_list("text", flat=True))


def asked(run: Run) -> ApprovalRequest:
    """Let a worker come to the question and die before it tells anybody."""
    execution.execute(step(run, "act").pk, "w")
    return ApprovalRequest.objects.get(step_run__run=run)


def test_it_tells_a_backlog_of_alerts_as_one(team: Team, phone: Phone, moved_clock: Clock) -> None:
    names = ["chat", "search", "vision", *(f"gone-{number}" for number in range(9))]
    for name in names:
        make_service(team, name)
    send(team, names)
    moved_clock.forward(hours=2)
    come_back(moved_clock)
    assert Incident.objects.count() == 12
    (note,) = phone.notes
    assert note["subject"].startswith("Backstop: 12 messages waited up to 2 h: 3 incidents still open (INC-")
    assert note["subject"].endswith("), 9 ended meanwhile")
    still, over = note["body"].split("Ended meanwhile")
    assert [name for name in names if f" {name} " in still] == names[:3]
    assert over.count("open, acknowledged by nobody; its alerts have stopped") == 9
    assert all(f"http://127.0.0.1:8000/incidents/{row.number}" in note["body"] for row in Incident.objects.all())
    assert set(Message.objects.values_list("state", flat=True)) == {"sent"}


def test_it_writes_of_each_what_became_of_it(team: Team, phone: Phone, moved_clock: Clock) -> None:
    first, second = make_incident(team, title="A"), make_incident(team, title="B", state="resolved")
    for incident in (first, second):
        notices.tell(team=team, kind="opened", key=incident.key, subject="S", body="B", link="/", incident=incident)
    notices.tell(team=team, kind="run_ended", key="r", subject="Ended", body="B", link="/", incident=first)
    moved_clock.forward(hours=2, minutes=5)
    pump()
    assert phone.subjects == [
        f"Backstop: 3 messages waited up to 2 h 5 min: 1 incident still open ({first.key}), 1 ended meanwhile"
    ]
    assert told(first)[-1] == "Delivered to team search (chat), 2 h 5 min late, in one message with 1 other: S; Ended"
    assert told(second)[-1] == "Delivered to team search (chat), 2 h 5 min late, in one message with 2 others: S"


def test_what_still_asks_goes_at_once_and_by_itself(team: Team, world: World, phone: Phone, moved_clock: Clock) -> None:
    grave, other = (
        lifecycle.declare(team=team, title=title, severity=severity, actor=ALERT)
        for title, severity in (("All is down", 1), ("Some is slow", 3))
    )
    run = start(make_runbook(team, ASKING), make_actor(team), team, other)
    asked(run)
    take(make_endpoint(team), {})
    moved_clock.forward(hours=2, minutes=30)
    assert backlog.carry_all(moved_clock()) == 2
    assert phone.subjects[0] == f"SEV1 {grave.key} All is down"
    assert phone.subjects[1].startswith(f"SEV3 {other.key} Some is slow · asks: ")
    assert phone.subjects[1].endswith(" · 1 h 30 min left")
    assert len(phone.notes) == 2, "the rest waits until what came in meanwhile is read"
    come_back(moved_clock)
    assert sum(f"SEV3 {other.key} Some is slow" in note["subject"] + note["body"] for note in phone.notes[2:]) == 2


@pytest.mark.parametrize(("how", "says"), [("answered", "ended, aborted"), ("expired", "expired, nothing was applied")])
def test_what_no_longer_asks_wakes_nobody(
    team: Team, world: World, phone: Phone, moved_clock: Clock, how: str, says: str
) -> None:
    incident = make_incident(team)
    run = start(make_runbook(team, ASKING), make_actor(team), team, incident)
    request = asked(run)
    moved_clock.forward(hours=1)
    if how == "answered":
        person = make_actor(team)
        approvals.reject(step(run, "act"), digest=request.digest, actor=person, reason="It is fine.")
    moved_clock.forward(hours=4)
    come_back(moved_clock)
    assert not any("asks: switch off→b" in subject for subject in phone.subjects)
    (digest,) = (note["body"] for note in phone.notes if note["subject"].startswith("Backstop: 2 messages waited"))
    assert "asks: switch off→b · 4 h left (over, or asked again since)" in digest
    assert says in digest


def test_only_the_last_of_several_asks_goes_by_itself(
    team: Team, world: World, phone: Phone, moved_clock: Clock
) -> None:
    run = start(make_runbook(team, ASKING), make_actor(team), team, make_incident(team))
    asked(run)
    moved_clock.forward(hours=2, minutes=30)
    come_back(moved_clock)
    moved_clock.forward(minutes=16)
    come_back(moved_clock)
    assert Message.objects.filter(kind="approval_half").exists()
    assert ["asks: " in subject for subject in phone.subjects].count(True) == 1


def test_one_that_is_alone_keeps_its_words(team: Team, phone: Phone, moved_clock: Clock) -> None:
    incident = make_incident(team, state="resolved", resolved_at=moved_clock())
    notices.tell(team=team, kind="opened", key="k", subject="S", body="B", link="/x", incident=incident)
    moved_clock.forward(hours=2)
    pump()
    (note,) = phone.notes
    assert (note["subject"], note["link"]) == ("S", "http://127.0.0.1:8000/x")
    assert note["body"] == f"Told 2 h late. {incident.key} is resolved since 2026-11-21 03:00 UTC.\n\nB"
    assert told(incident)[-1] == "Delivered to team search (chat), 2 h late: S"


def test_a_grave_one_that_is_over_by_now_wakes_nobody(team: Team, phone: Phone, moved_clock: Clock) -> None:
    make_service(team, "gone")
    send(team, ["gone"], severity="critical")
    moved_clock.forward(hours=2)
    come_back(moved_clock)
    (note,) = phone.notes
    assert note["body"].startswith("Told 2 h late. ")
    assert "open, acknowledged by nobody; its alerts have stopped." in note["body"]


def test_what_ran_out_meanwhile_is_one_message(team: Team, world: World, phone: Phone, moved_clock: Clock) -> None:
    incident = make_incident(team, mitigated_at=moved_clock(), state="mitigated")
    postmortems.start_clock(incident, now=moved_clock() - timedelta(hours=23, minutes=30))
    runbook = make_runbook(team, "  check:\n    - {id: look, manual: Look., timeout: 9h}\n", head="deadline: 3h\n")
    for _ in range(3):
        start(runbook, make_actor(team), team, incident)
    pump()
    Message.objects.all().delete()
    began = len(phone.notes)
    moved_clock.forward(hours=6)
    postmortems.check_clocks(moved_clock())
    pump()
    assert len(phone.notes) == began, "more may be found in the next seconds"
    moved_clock.forward(seconds=11)
    pump()
    (note,) = phone.notes[began:]
    assert note["subject"].startswith("Backstop: 4 messages waited up to 5 h 30 min")
    assert note["body"].count("ended, expired") == 3
    assert "postmortem due in" in note["body"]


def test_it_names_no_secret_of_a_title(team: Team, phone: Phone, moved_clock: Clock) -> None:
    incident = make_incident(team, title="password=hunter2hunter2 is refused")
    for key in ("a", "b"):
        notices.tell(team=team, kind="run_ended", key=key, subject=key, body="B", link="/", incident=incident)
    moved_clock.forward(hours=1)
    pump()
    assert "hunter2" not in str(phone.notes)
    assert "is refused" in str(phone.notes)


def test_what_is_less_than_a_quarter_of_an_hour_old_is_told_as_ever(
    team: Team, phone: Phone, moved_clock: Clock
) -> None:
    for name in ("a", "b"):
        notices.tell(team=team, kind="opened", key=name, subject=name, body="B", link="/")
    moved_clock.forward(minutes=14)
    pump()
    assert phone.subjects == ["a", "b"]


def test_a_hint_of_long_ago_carries_nothing(team: Team, phone: Phone, moved_clock: Clock) -> None:
    (message,) = notices.tell(team=team, kind="opened", key="a", subject="a", body="B", link="/")
    moved_clock.forward(minutes=16)
    assert outbox.deliver(message.pk) is None
    assert schedule.send_due_messages() == 0
    assert message.state == "pending"


def test_a_channel_that_was_away_brings_what_waited_as_one(team: Team, moved_clock: Clock) -> None:
    is_away = True
    with web.serve(lambda asked: web.Reply(status=503 if is_away else 200)) as server:
        make_address(server.url, team=team)
        for number in range(5):
            notices.tell(team=team, kind="opened", key=str(number), subject=f"S{number}", body="B", link="/")
            moved_clock.forward(minutes=1)
            schedule.send_due_messages()
        for _ in range(30):
            pump()
            moved_clock.forward(minutes=4)
        before, is_away = len(server.asked), False
        moved_clock.forward(hours=1)
        pump()
        (arrived,) = server.asked[before:]
    assert json.loads(arrived.body)["subject"].startswith("Backstop: 5 messages waited up to ")
    assert set(Message.objects.values_list("state", flat=True)) == {"sent"}


def test_the_same_messages_have_the_same_key(team: Team, phone: Phone, moved_clock: Clock) -> None:
    for name in ("a", "b"):
        notices.tell(team=team, kind="opened", key=name, subject=name, body="B", link="/")
    moved_clock.forward(hours=2)
    pump()
    Message.objects.update(state="pending", sent_at=None)
    pump()
    first, again = (note["key"] for note in phone.notes)
    assert first == again


def test_others_are_told_as_one_too_when_nobody_was_reached(team: Team, phone: Phone, moved_clock: Clock) -> None:
    owner = make_user("owner", team=team)
    with web.serve(lambda asked: web.Reply(status=503)) as down:
        make_address(down.url, user=owner)
        for name in ("a", "b", "c"):
            notices.tell(
                team=team, kind="opened", key=name, subject=name, body="B", link="/", users=[owner], to_team=False
            )
        moved_clock.forward(hours=2)
        pump()
        schedule.send_due()
        come_back(moved_clock)
    assert phone.subjects == ["Backstop: 3 messages waited up to 2 h"]


def test_the_watch_tells_it_as_workers_would(team: Team, phone: Phone, moved_clock: Clock) -> None:
    Worker.objects.create(name="w", started_at=moved_clock(), ticked_at=moved_clock(), queues=["engine"])
    for name in ("a", "b"):
        notices.tell(team=team, kind="opened", key=name, subject=name, body="B", link="/")
    take(make_endpoint(team), {})
    watch.look(moved_clock.forward(hours=2))
    assert phone.subjects == [
        "Backstop: nothing runs, no worker for 7200 s · asks: start or restart a worker",
        "Backstop: 2 messages waited up to 2 h",
    ]


def test_it_is_tried_for_hours_even_when_it_came_up_days_ago(team: Team, moved_clock: Clock) -> None:
    with web.serve(lambda asked: web.Reply(status=503)) as down:
        make_address(down.url, team=team)
        (message,) = notices.tell(team=team, kind="opened", key="a", subject="a", body="B", link="/")
        began = moved_clock.forward(days=2)
        while message.state == "pending":
            pump()
            message.refresh_from_db()
            moved_clock.time = max(message.due_at, moved_clock.time)
    assert message.attempts == outbox.LEAST_TRIES
    assert (moved_clock() - began).total_seconds() > 3600


def test_the_page_says_how_each_was_told(team: Team, phone: Phone, moved_clock: Clock) -> None:
    incident = make_incident(team)
    for name in ("a", "b", "c"):
        notices.tell(team=team, kind="opened", key=name, subject=name, body="B", link="/", incident=incident)
    moved_clock.forward(hours=2)
    pump()
    page = signed_in(make_user(team=team)).get(f"/incidents/{incident.number}/people").content.decode()
    assert page.count("2 h late, in one message with 2 others") == 3

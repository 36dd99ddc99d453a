"""Telling people: who, once, what it says, and what becomes of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta

import pytest
from pytest_django import Settings

from catalog.actors import ALERT
from catalog.models import Address, Team
from common.errors import Forbidden, Invalid, NotFound
from incidents import lifecycle, notices, outbox, schedule
from incidents.channels import channel_for
from incidents.models import Incident, Message, TimelineEntry
from tests.conftest import Clock
from tests.factories import make_actor, make_incident, make_service, make_team, make_user
from tests.factories_postmortems import make_address, make_check
from tests.fakes import smtp, web

pytestmark = pytest.mark.django_db
KEY = "approval:1"


@pytest.fixture
def sink() -> Iterator[web.Web]:
    with web.serve(lambda asked: web.Reply(b"{}")) as running:
        yield running


def tell(team: Team, **fields: object) -> list[Message]:
    values = {"kind": "opened", "key": KEY, "subject": "S", "body": "B", "link": "/incidents/1"}
    return notices.tell(team=team, **(values | fields))  # type: ignore[arg-type]


def texts(incident: Incident) -> list[str]:
    return list(TimelineEntry.objects.filter(incident=incident, kind="message").values_list("text", flat=True))


def test_it_tells_each_address_once(team: Team) -> None:
    user = make_user(team=team)
    make_address("https://a.test/1", user=user)
    make_address("https://a.test/2", team=team)
    incident = make_incident(team)
    first = tell(team, incident=incident, users=[user, user])
    again = tell(team, incident=incident, users=[user])
    assert [row.pk for row in first] == [row.pk for row in again]
    assert Message.objects.count() == 2
    assert texts(incident) == [f"Told {user.label} (phone), team search (phone): S"]


def test_it_tells_an_address_that_was_added_since(team: Team) -> None:
    make_address("https://a.test/1", team=team)
    tell(team)
    make_address("https://a.test/2", team=team, label="chat")
    assert len(tell(team)) == 2


def test_it_names_no_address_on_the_timeline(team: Team) -> None:
    make_address("https://a.test/very-secret", team=team)
    incident = make_incident(team)
    tell(team, incident=incident)
    entry = TimelineEntry.objects.get(incident=incident)
    assert "very-secret" not in entry.text + str(entry.data)


def test_it_says_once_that_nobody_could_be_told(team: Team) -> None:
    incident = make_incident(team)
    assert tell(team, incident=incident) == []
    assert tell(team, incident=incident) == []
    (text,) = texts(incident)
    assert text.startswith("Nobody could be told")
    assert Message.objects.get().state == "failed"


def test_it_leaves_out_people_who_left(team: Team) -> None:
    user = make_user(team=team)
    make_address("https://a.test/1", user=user)
    user.is_active = False
    user.save()
    assert tell(team, users=[user], to_team=False) == []


def test_it_refuses_an_unknown_kind(team: Team) -> None:
    with pytest.raises(ValueError, match="unknown message kind"):
        tell(team, kind="gossip")


def test_it_shortens_long_keys(team: Team) -> None:
    make_address("https://a.test/1", team=team)
    tell(team, key="x" * 500)
    tell(team, key="x" * 500)
    assert Message.objects.count() == 1


def test_it_links_with_the_base_url(team: Team, settings: Settings) -> None:
    settings.BASE_URL = "https://ops.example.com"
    make_address("https://a.test/1", team=team)
    assert tell(team)[0].link == "https://ops.example.com/incidents/1"


def test_it_writes_subjects_for_a_lock_screen(team: Team) -> None:
    incident = make_incident(team, make_service(team, "rag-chat"), severity=2, number=42)
    made = notices.subject(
        incident, what="accuracy .91→.78", asks="roll back v43→v42", left=timedelta(minutes=26, seconds=20)
    )
    assert made == "SEV2 INC-42 rag-chat accuracy .91→.78 · asks: roll back v43→v42 · 26 min left"


def test_it_puts_what_was_measured_on_the_lock_screen(team: Team) -> None:
    incident = make_incident(
        team,
        make_service(team, "rag-chat"),
        severity=2,
        number=42,
        title="Quality alert",
        incident_type="accuracy_drop",
    )
    asks, left = "Roll back rag-chat: v43 → v42", timedelta(minutes=26)
    assert notices.subject(incident, asks=asks, left=left) == (
        "SEV2 INC-42 rag-chat Quality alert · asks: roll back v43→v42 · 26 min left"
    )
    for signal, before, now, unit in (("latency", 1.72, 4.1, "s"), ("accuracy", 0.913, 0.7784, "ratio")):
        make_check(
            incident,
            f"{signal} moved.",
            provider="metric.compare",
            params={"signal": signal},
            result={"before": before, "now": now},
            unit=unit,
        )
    make_check(incident, "v43 is worse.", provider="eval.compare", result={"regressed": ["language=de", "a=b"]})
    assert notices.subject(incident, asks=asks, left=left) == (
        "SEV2 INC-42 rag-chat accuracy .91→.78 (de) · asks: roll back v43→v42 · 26 min left"
    )
    incident.incident_type = "latency_spike"
    assert notices.measured(incident) == "latency 1.7→4.1 s (de)"


def test_it_cuts_only_what_is_wrong(team: Team) -> None:
    incident = make_incident(team, make_service(team, "rag-chat"))
    made = notices.subject(incident, what="word " * 100, asks="roll back", left=timedelta(hours=2))
    assert len(made) <= notices.SUBJECT_LENGTH
    assert made.endswith("… · asks: roll back · 2 h left")


def test_it_marks_drills(team: Team) -> None:
    assert notices.subject(make_incident(team, is_drill=True), what="x").startswith("DRILL SEV3")


def test_it_delivers_to_a_web_address(team: Team, sink: web.Web) -> None:
    address = make_address(sink.url.replace("http://", "json://u:p@") + "/hook", team=team)
    incident = make_incident(team)
    (message,) = tell(team, incident=incident)
    outbox.deliver(message.pk)
    message.refresh_from_db()
    (asked,) = sink.asked
    assert message.state == "sent"
    assert asked.path == "/hook"
    assert asked.headers["authorization"] == "Basic dTpw"
    assert b'"subject"' in asked.body
    assert Address.objects.get(pk=address.pk).last_ok_at
    assert texts(incident)[-1] == "Delivered to team search (phone): S"


def test_it_delivers_once(team: Team, sink: web.Web) -> None:
    make_address(sink.url, team=team)
    (message,) = tell(team)
    assert [outbox.deliver(message.pk) is not None for _ in range(3)] == [True, False, False]
    assert len(sink.asked) == 1


def test_it_does_not_send_what_another_worker_sends(team: Team, sink: web.Web, moved_clock: Clock) -> None:
    make_address(sink.url, team=team)
    (message,) = tell(team)
    Message.objects.update(lease_until=moved_clock() + outbox.LEASE)
    assert outbox.due() == []
    assert outbox.deliver(message.pk) is None
    moved_clock.forward(seconds=61)
    assert outbox.due() == [message.pk]
    assert outbox.deliver(message.pk) is not None


def test_it_tries_again_later_and_tells_the_result_once(team: Team, moved_clock: Clock) -> None:
    codes = iter([500, 503, 200])
    with web.serve(lambda asked: web.Reply(status=next(codes))) as server:
        make_address(server.url, team=team)
        incident = make_incident(team)
        (message,) = tell(team, incident=incident)
        waits = []
        for _ in range(3):
            assert schedule.send_due_messages() == 1
            message.refresh_from_db()
            waits.append((message.due_at - moved_clock()).total_seconds())
            moved_clock.forward(seconds=max(waits[-1], 0))
    assert waits[:2] == [30, 60]
    assert (message.state, message.attempts) == ("sent", 3)
    assert len(texts(incident)) == 2


def test_it_gives_up_after_a_day(team: Team, moved_clock: Clock) -> None:
    make_address("http://127.0.0.1:9/", team=team)
    incident = make_incident(team)
    with web.serve(lambda asked: web.Reply(status=500)) as server:
        Address.objects.all().delete()
        make_address(server.url, team=team)
        (message,) = tell(team, incident=incident)
        while message.state == "pending":
            outbox.deliver(message.pk, late=True)
            message.refresh_from_db()
            moved_clock.time = max(message.due_at, moved_clock.time)
    assert message.state == "failed"
    assert 24 * 3600 - 4 * 3600 <= (moved_clock() - message.created_at).total_seconds() <= 24 * 3600
    assert "given up after" in texts(incident)[-1]
    assert Address.objects.get().last_error


@pytest.mark.parametrize("status", [400, 401, 403, 410])
def test_it_gives_up_at_once_when_trying_is_useless(team: Team, status: int) -> None:
    with web.serve(lambda asked: web.Reply(status=status)) as server:
        make_address(server.url, team=team)
        (message,) = tell(team)
        outbox.deliver(message.pk)
    message.refresh_from_db()
    assert (message.state, message.attempts) == ("failed", 1)


def test_it_does_not_call_private_addresses(team: Team) -> None:
    make_address("http://127.0.0.1:9/", team=team)
    (message,) = tell(team)
    outbox.deliver(message.pk)
    message.refresh_from_db()
    assert message.state == "failed"
    assert "blocked" in message.error


def test_it_says_when_the_address_was_removed(team: Team) -> None:
    make_address("https://a.test/1", team=team)
    (message,) = tell(team)
    Address.objects.all().delete()
    outbox.deliver(message.pk)
    message.refresh_from_db()
    assert (message.state, message.error) == ("failed", "The address was removed.")


def test_it_still_sends_when_the_incident_is_over(team: Team, sink: web.Web) -> None:
    make_address(sink.url, team=team)
    incident = make_incident(team, state="resolved")
    (message,) = tell(team, incident=incident)
    outbox.deliver(message.pk)
    assert len(sink.asked) == 1


def use_mail(settings: Settings, url: str) -> None:
    settings.BACKSTOP = settings.BACKSTOP.model_copy(update={"mail_url": url})


def test_it_delivers_by_mail(team: Team, settings: Settings) -> None:
    with smtp.serve() as server:
        use_mail(settings, server.url)
        make_address("mailto:dana@example.com", team=team)
        incident = make_incident(team)
        for key in ("a", "b"):
            (message,) = tell(team, incident=incident, key=key, subject="Über\r\nBcc: x@evil.test", body="one\ntwo")
            outbox.deliver(message.pk)
    (recipient, first), (_, second) = server.taken
    assert recipient == "dana@example.com"
    assert first["Subject"] == "Über Bcc: x@evil.test"
    assert first["Bcc"] is None
    assert first["Auto-Submitted"] == "auto-generated"
    assert first["References"] == second["References"]
    assert first["Message-ID"] != second["Message-ID"]
    assert "one\ntwo" in first.as_string()


@pytest.mark.parametrize(("refuse", "state"), [("550 no such mailbox", "failed"), ("451 try later", "pending")])
def test_it_reads_the_mail_servers_refusal(team: Team, settings: Settings, refuse: str, state: str) -> None:
    with smtp.serve(refuse=refuse) as server:
        use_mail(settings, server.url)
        make_address("mailto:dana@example.com", team=team)
        (message,) = tell(team)
        outbox.deliver(message.pk)
    message.refresh_from_db()
    assert message.state == state
    assert refuse[:3] in message.error


def test_it_says_that_no_mail_server_is_set_up(team: Team) -> None:
    make_address("mailto:dana@example.com", team=team)
    (message,) = tell(team)
    outbox.deliver(message.pk)
    message.refresh_from_db()
    assert message.state == "failed"
    assert "BACKSTOP_MAIL_URL" in message.error


@pytest.mark.parametrize(
    ("url", "channel", "hint"),
    [
        ("mailto:dana@example.com", "mail", "d…@example.com"),
        ("jsons://user:pass@hooks.test/secret", "webhook", "https://hooks.test/…"),
        ("https://hooks.slack.com/services/T/B/x", "webhook", "https://hooks.slack.com/…"),
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ", "apprise", "slack://T...2/A...D/T...Q"),
        ("ntfy://topic", "apprise", "ntfys://topic"),
    ],
)
def test_it_knows_the_channel_of_an_address(url: str, channel: str, hint: str) -> None:
    found = channel_for(url)
    assert found.name == channel
    assert found.check(url).startswith(hint)


@pytest.mark.parametrize(
    "url",
    [
        *("xml://host/", "form://host/", "apprise://host/token", "syslog://", "mmost://host/token", "rsyslog://host"),
        *("ftp://host", "", "nonsense", "file:///etc/passwd", "dbus://", "ntfy://host/topic", "https://", "json://"),
        *("mailto:nobody", "mailto:a@b.test,c@d.test", "https://a b.test", "slack://", "mailto:a@b.test\r\nBcc:c@d.e"),
    ],
)
def test_it_refuses_other_addresses(url: str) -> None:
    with pytest.raises(Invalid) as caught:
        channel_for(url).check(url)
    assert caught.value.fix


def test_it_keeps_an_address_from_holding_the_worker() -> None:
    from incidents.channels.apprise import _carrier

    made = _carrier("discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js?retry=9&wait=60&cto=900&redirect=yes")
    assert (made.request_timeout, made.redirects) == ((4.0, 4.0), False)


def test_it_shapes_messages_for_slack_and_teams() -> None:
    from incidents.channels.base import Note
    from incidents.channels.webhook import _payload

    note = Note("S <!here>", "B", "https://ops.test/1", "k")
    assert _payload("hooks.slack.com", note)["text"] == "S &lt;!here&gt;\nB\nhttps://ops.test/1"
    assert _payload("x.logic.azure.com", note)["attachments"][0]["content"]["type"] == "AdaptiveCard"


@pytest.mark.parametrize("kind", notices.KINDS)
def test_it_has_words_for_every_kind(team: Team, kind: str, moved_clock: Clock) -> None:
    from incidents import action_items, postmortems
    from tests.factories import make_actor

    actor = make_actor(team)
    incident = make_incident(team, make_service(team))
    facts = {
        "incident": incident,
        "where": "Alert A.",
        "action": "Roll back.",
        "why": ["because"],
        "until": moved_clock(),
        "runbook": "R",
        "outcome": "resolved",
        "findings": ["one"],
        "what": "nothing runs",
        "text": "Rolled back; we watch it.",
        "command": "manage.py worker",
        "postmortem": postmortems.start_clock(incident, now=moved_clock()),
        "owner": "Dana",
        "left": timedelta(hours=1),
        "who": "Dana",
        "reason": "alone",
        "late": timedelta(days=2),
        "service": "rag-chat",
        "back": "model.rollback",
        "stopped": True,
        "said": "Dana stopped all effects: they do harm",
        "waiting": 2,
        "item": action_items.add(
            incident,
            title="Alert on it",
            kind="detect",
            owner=actor.user,
            due_on=(moved_clock() + timedelta(days=3)).date(),
            actor=actor,
        ),
    }
    made = notices.body(kind, **facts)
    assert made
    assert "{" not in made


def test_it_reaches_a_lock_screen_whole(team: Team, sink: web.Web) -> None:
    make_address(sink.url, team=team)
    service = make_service(team, "rag-chat")
    lifecycle.declare(team=team, service=service, title="Accuracy fell", severity=1, actor=ALERT)
    outbox.deliver(Message.objects.get().pk)
    told = json.loads(sink.asked[0].body)
    incident = Incident.objects.get()
    assert told["subject"] == f"SEV1 {incident.key} rag-chat Accuracy fell"
    assert told["link"] == f"http://127.0.0.1:8000/incidents/{incident.number}"
    assert told["body"].splitlines()[1] == "Severity 1 (critical), rag-chat."


def test_it_tells_others_when_nobody_was_reached(team: Team, sink: web.Web, moved_clock: Clock) -> None:
    owner, other = make_user("owner", team=team), make_user("other", team=team)
    make_address("http://127.0.0.1:9/", user=owner)
    make_address(sink.url, user=other, label="chat")
    incident = make_incident(team)
    with web.serve(lambda asked: web.Reply(status=503)) as down:
        Address.objects.filter(user=owner).delete()
        make_address(down.url, user=owner)
        tell(team, incident=incident, users=[owner], to_team=False)
        for _ in range(12):
            schedule.send_due()
            moved_clock.forward(seconds=30)
    assert texts(incident) == [
        "Told owner (phone): S",
        "Not delivered to owner (phone) yet, tried again for a day: The web address answered 503.",
        "Nobody was reached yet, so told other (chat): S",
        "Delivered to other (chat): S",
    ]
    assert len(sink.asked) == 1


def test_it_does_not_wait_where_trying_is_useless(team: Team, sink: web.Web, moved_clock: Clock) -> None:
    owner = make_user(team=team)
    make_address("http://127.0.0.1:9/", user=owner)
    tell(team, users=[owner], to_team=False)
    schedule.send_due()
    make_address(sink.url, team=team)
    schedule.send_due()
    assert len(sink.asked) == 1


def test_one_dead_address_holds_up_no_other(team: Team, sink: web.Web, moved_clock: Clock) -> None:
    make_address("http://127.0.0.1:9/", team=team)
    make_address(sink.url, team=team)
    tell(team)
    schedule.send_due()
    schedule.send_due()
    assert sorted(Message.objects.values_list("state", flat=True)) == ["failed", "sent"]


def test_it_tries_an_address(team: Team, sink: web.Web, moved_clock: Clock) -> None:
    actor = make_actor(team)
    address = make_address(sink.url, user=actor.user)
    assert [notices.test(address, actor=actor).state for _ in range(3)] == ["sent"] * 3
    assert len(sink.asked) == 1
    moved_clock.forward(minutes=1)
    notices.test(address, actor=actor)
    assert [json.loads(asked.body)["subject"] for asked in sink.asked] == ["Backstop: a test, nothing is wrong"] * 2


def test_it_says_why_a_test_failed_and_does_not_try_again(team: Team, moved_clock: Clock) -> None:
    with web.serve(lambda asked: web.Reply(status=503)) as down:
        sent = notices.test(make_address(down.url, team=team), actor=make_actor(team))
    assert (sent.state, sent.error) == ("failed", "The web address answered 503.")
    assert outbox.due(now=moved_clock.forward(hours=1)) == []
    assert notices.tell_second_channel(moved_clock()) == []


def test_only_those_try_an_address_who_may(team: Team, sink: web.Web) -> None:
    actor = make_actor(team, ["responder"])
    with pytest.raises(Forbidden):
        notices.test(make_address(sink.url, team=team), actor=actor)
    with pytest.raises(NotFound):
        notices.test(make_address(sink.url, user=make_user(team=team)), actor=actor)
    with pytest.raises(NotFound):
        notices.test(make_address(sink.url, team=make_team("elsewhere")), actor=actor)
    assert sink.asked == []

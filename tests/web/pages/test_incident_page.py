"""What an incident's page says, tab by tab: from nothing known to everything, and with hostile input."""

from __future__ import annotations

import html
import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from catalog import people as addresses
from catalog import presence
from catalog.actors import ENGINE, person
from catalog.models import Address, Change, Service, Team, User
from common import clock
from incidents import impact, lifecycle, notices, timeline
from incidents.evidence import store
from incidents.models import Alert, Incident, Pin, TimelineEntry
from runbooks import runs
from runbooks.models import Run, StepRun
from tests.factories import make_actor, make_service, make_team, make_user
from tests.factories_runbooks import make_runbook
from tests.factories_web import World, make_world

pytestmark = pytest.mark.django_db


@pytest.fixture
def service(team: Team) -> Service:
    return make_service(team, "rag-chat")


@pytest.fixture
def incident(team: Team, service: Service) -> Incident:
    return lifecycle.declare(
        team=team, title="Answers got worse", severity=2, actor=make_actor(team, username="dora"), service=service
    )


@pytest.fixture
def responder(team: Team, client: Client) -> User:
    user = make_user("rita", team=team, roles=["responder"])
    client.force_login(user)
    return user


def tab(client: Client, incident: Incident, name: str = "") -> str:
    """The visible words of a tab, with one space between."""
    answer = client.get(f"/incidents/{incident.number}{'/' if name else ''}{name}")
    assert answer.status_code == 200, answer.status_code
    return words(answer.content.decode())


def words(page: str) -> str:
    """The text of its main part; an element's edge is a space, but not before a comma."""
    main = page.partition("<main")[2].partition("</main>")[0]
    text = " ".join(html.unescape(re.sub(r"<[^>]+>", " ", main)).split())
    return re.sub(r" (?=[,;.](?: |$))", "", text)


def diagnosed(incident: Incident, top: str, *, checked: str = "pass") -> Run:
    """A run of two checks whose diagnosis names `top`, or nothing."""
    book = make_runbook(incident.team, "  check:\n    - {id: look, manual: Look}\n", slug="looking")
    run = runs.start(book, given={}, actor=ENGINE, team=incident.team, incident=incident).run
    assert run is not None
    proof = store(
        incident=incident, kind="check", verdict="fail", summary="Accuracy fell from 0.91 to 0.78.",
        provider="metric.compare", params={"signal": "accuracy"}, result={"now": 0.78, "before": 0.91},
    )  # fmt: skip
    run.steps.all().delete()
    for place, (step, verdict, reason) in enumerate([("accuracy", "fail", ""), ("labels", "error", "unreachable")]):
        StepRun.objects.create(
            run=run, step=step, position=place, kind="check", phase="check", name=f"Is {step} worse?",
            state="settled", verdict=verdict, reason=reason,
        )  # fmt: skip
    lines = [{"step": "accuracy", "verdict": "fail", "points": 4, "evidence": proof.key}]
    ranked = [
        {"id": name, "title": title, "confidence": score, "coverage": 0.6, "score": 3, "lines": lines,
         "not_checked": ["labels"]}
        for name, title, score in [("model", "Bad model version v43", 0.8), ("data", "The data changed", 0.1),
                                   ("world", "Questions moved", 0.05), ("rest", "Something else", 0.01)]
    ]  # fmt: skip
    Run.objects.filter(pk=run.pk).update(diagnosis={"top": top, "ranked": ranked}, diagnosis_frozen=True)
    return run


def test_it_says_unknown_where_nothing_is_known(client: Client, team: Team, responder: User) -> None:
    bare = lifecycle.declare(team=team, title="Something", severity=4, actor=make_actor(team, username="dora"))
    said = tab(client, bare)
    assert "service unknown" in said
    assert "nobody leads" in said
    assert "nobody has acknowledged for" in said
    assert said.count("unknown") >= 8
    assert "Likely cause: unknown; no runbook has run" in said
    assert "none, declared by dora" in said
    assert "No change is known" in said


def test_it_names_the_cause_with_for_against_and_not_checked(
    client: Client, incident: Incident, responder: User
) -> None:
    diagnosed(incident, "model")
    said = tab(client, incident)
    assert "Accuracy of rag-chat fell from .91 to .78." in said
    assert "Likely cause: Bad model version v43 For E1 Against none Not checked labels (nobody answers" in said
    assert "it is no probability" in said
    assert "No cause reached" not in said


def test_it_names_no_cause_but_the_best_three_and_whom_to_call(
    client: Client, incident: Incident, service: Service, responder: User
) -> None:
    owners = make_team("store-owners", name="Store owners")
    needed = make_service(owners, "rag-store", default_owner=make_user("kim", team=owners))
    service.depends_on.add(needed)
    addresses.add_address(
        url="https://hooks.example.com/x", label="On call +49 30 901820", channel="webhook",
        hint="hooks.example.com", team=owners,
    )  # fmt: skip
    diagnosed(incident, "unknown")
    page = client.get(f"/incidents/{incident.number}").content.decode()
    said = words(page)
    assert "No cause reached 60 %." in said
    best = said.partition("All possible")[0]
    shown = [title in best for title in ("Bad model", "The data", "Questions moved", "Something else")]
    assert shown == [True, True, True, False]
    assert "Is labels worse? (nobody answers at the address)" in said
    assert "Upstream rag-store is owned by team Store owners, kim. Call: On call +49 30 901820" in said
    assert 'href="tel:+4930901820"' in page
    assert 'href="mailto:kim@example.com"' in page
    assert f'href="/incidents/{incident.number}/act"' in page


def test_it_says_who_watches_and_who_acknowledged(client: Client, incident: Incident, responder: User) -> None:
    lifecycle.acknowledge(incident, actor=person(responder))
    watcher = make_user("kim", team=incident.team)
    presence.seen(watcher, "incident", str(incident.number))
    presence.seen(responder, "incident", str(incident.number))
    said = tab(client, incident, "people")
    assert f"rita acknowledged {clock.now():%H:%M} 1 watching" in said
    assert "Watching kim" in said
    assert "rita leads" in said


def test_it_shows_and_sets_the_impact(client: Client, incident: Incident, responder: User) -> None:
    fields = {"name": "users", "basis": "estimate", "value": "1,200", "reason": "half of the Germans"}
    assert client.post(f"/incidents/{incident.number}/impact", fields).status_code == 302
    asked = {"name": "tenants", "basis": "unknown", "asked": "support"}
    assert client.post(f"/incidents/{incident.number}/impact", asked).status_code == 302
    said = tab(client, incident)
    assert "Users 1,200 estimate" in said
    assert "Tenants unknown asked support" in said
    assert "rita set the impact: users 1,200 (estimate): half of the Germans." in said


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"name": "users", "basis": "estimate", "value": "many", "reason": "x"}, "a whole number, e.g. 1200"),
        ({"name": "users", "basis": "estimate", "value": "3"}, "how do you know?"),
        ({"name": "users", "basis": "measured", "value": "3", "evidence": "E77"}, "there is no such number"),
        ({"name": "users", "basis": "measured", "value": "3", "evidence": "x"}, "Write it as E12."),
        ({"name": "moons", "basis": "unknown"}, "Select a valid choice"),
    ],
)
def test_it_says_what_is_wrong_with_a_figure(
    client: Client, incident: Incident, responder: User, fields: dict[str, str], fault: str
) -> None:
    answer = client.post(f"/incidents/{incident.number}/impact", fields)
    assert answer.status_code == 422
    assert fault in words(answer.content.decode())
    assert 'value="many"' in answer.content.decode() or fields.get("value") != "many"


def test_it_sets_a_star_without_script_and_filters_by_it(client: Client, incident: Incident, responder: User) -> None:
    note = lifecycle.add_note(incident, text="look here", actor=person(responder))
    lifecycle.add_note(incident, text="not here", actor=person(responder))
    url = f"/incidents/{incident.number}/timeline"
    for _ in range(2):
        answer = client.post(f"{url}/{note.seq}/pin", {"pinned": "1", "next": url})
        assert answer["Location"] == f"{url}#t-{note.seq}"
    assert Pin.objects.get().pinned is True
    client.post(f"{url}/1/pin", {"pinned": "0"})
    said = words(client.get(f"{url}?kind=key").content.decode())
    assert ("look here" in said, "not here" in said, "Declared by" in said) == (True, False, False)


def test_it_corrects_the_time_of_a_note(client: Client, incident: Incident, responder: User) -> None:
    note = lifecycle.add_note(incident, text="switched the flag", actor=make_actor(incident.team, username="ben"))
    url = f"/incidents/{incident.number}/timeline/{note.seq}/time"
    assert client.post(url, {"at": "2026-01-02T03:04", "reason": ""}).status_code == 422
    assert client.post(url, {"at": "2026-01-02T03:04", "reason": "the log"}).status_code == 302
    said = tab(client, incident, "timeline")
    assert "its time was corrected by a later entry" in said
    assert "ben, responder · time corrected by rita, was" in said
    assert TimelineEntry.objects.get(incident=incident, supersedes=note.seq).at.hour == 3


def test_it_ranks_changes_by_their_distance_to_the_onset(
    client: Client, incident: Incident, service: Service, responder: User
) -> None:
    begun = incident.started_at
    for summary, minutes, author, effect in [
        ("Far", 600, "rita", ""), ("Near", 4, "rita@example.com", ""),
        ("After", -0.00001, "", ""), ("Ours", 1, "", "k"),
    ]:  # fmt: skip
        Change.objects.create(
            team=incident.team, service=service, kind="model", summary=summary, version="v43" if minutes == 4 else "",
            author=author, source="api", effect_key=effect, occurred_at=begun - timedelta(minutes=minutes),
            received_at=begun,
        )  # fmt: skip
    said = tab(client, incident, "signals")
    places = [said.index(f"{word} model ·") for word in ("Near", "Far", "After", "Ours")]
    assert places == sorted(places)
    assert "Near model · v43 · by a team responder · rag-chat" in said
    assert "After model · version unknown · author unknown" in said
    assert "Ours model · version unknown · Backstop" in said
    assert "4 min before onset" in said


def test_it_tells_who_was_told_and_whether_it_arrived(client: Client, incident: Incident, responder: User) -> None:
    address = addresses.add_address(
        url="https://hooks.example.com/x", label="Chat", channel="webhook", hint="hooks.example.com", team=incident.team
    )
    sent = notices.tell(
        team=incident.team, kind="run_ended", key="a", subject="S", body="b", link="/", incident=incident
    )
    assert "team default (Chat) webhook · S On its way" in tab(client, incident, "people").replace(
        f"team {incident.team.slug}", "team default"
    )
    message = sent[0]
    message.state, message.sent_at = "sent", clock.now()
    message.save()
    assert "webhook · S Accepted" in tab(client, incident, "people")
    message.state, message.error = "failed", "refused"
    message.save()
    Address.objects.filter(pk=address.pk).delete()
    assert "S · refused Not delivered" in tab(client, incident, "people")


def test_the_handover_card_is_made_from_the_record(client: Client, incident: Incident, responder: User) -> None:
    run = diagnosed(incident, "model")
    StepRun.objects.create(run=run, step="errors", position=3, kind="check", phase="check", name="More errors?",
                           state="settled", verdict="pass")  # fmt: skip
    said = tab(client, incident, "people")
    card = said.partition("Handover Known")[2].partition("As text")[0]
    assert "Likely cause: Bad model version v43 (E1)." in card
    assert "Impact: unknown." in card
    assert "Ruled out More errors?" in card
    assert "Running" in card


def test_similar_incidents_say_why_and_what_was_done(client: Client, incident: Incident, responder: User) -> None:
    diagnosed(incident, "model")
    earlier = lifecycle.declare(
        team=incident.team, title="The same before", severity=3, actor=ENGINE, service=incident.service, group_key="g"
    )
    Run.objects.create(
        team=incident.team, incident=earlier, runbook=Run.objects.get().runbook, revision=Run.objects.get().revision,
        state="finished", started_by="x", diagnosis={"top": "model", "title": "Bad model"}, created_at=clock.now(),
        deadline_at=clock.now(),
    )  # fmt: skip
    timeline.record(earlier, kind="effect", actor=ENGINE, text="Rolled back to v42.")
    lifecycle.resolve(earlier, actor=ENGINE)
    said = tab(client, incident, "postmortem").partition("Similar incidents")[2]
    assert "same cause: Bad model · same service" in said
    assert "what was done: Rolled back to v42. · over after" in said


def test_a_resolved_incident_is_hollow_and_says_how_long(client: Client, incident: Incident, responder: User) -> None:
    lifecycle.set_severity(incident, severity=1, actor=person(responder))
    assert 'class="sev-band"' in client.get(f"/incidents/{incident.number}").content.decode()
    lifecycle.resolve(incident, actor=person(responder))
    page = client.get(f"/incidents/{incident.number}").content.decode()
    assert 'class="sev-band"' not in page
    assert "sev-1 is-over" in page
    assert "Over: it lasted" in words(page)
    assert "never acknowledged" in words(page)


def test_a_viewer_reads_every_tab_and_is_offered_nothing(client: Client, incident: Incident) -> None:
    client.force_login(make_user("vera", team=incident.team, roles=["viewer"]))
    for name in ("", "timeline", "signals", "runs", "people", "postmortem"):
        page = client.get(f"/incidents/{incident.number}/{name}".rstrip("/")).content.decode()
        assert 'method="post"' not in page.partition("<main")[2].partition("</main>")[0], name


def grown(world: World, entries: int) -> None:
    """So many further entries of all kinds, with evidence, stars and alerts."""
    kinds = list(timeline.KINDS)
    for nth in range(entries):
        proof = store(
            incident=world.incident, kind="check", verdict="fail", summary="x", provider="metric.compare",
            params={"signal": "error_rate"}, result={"now": 0.2, "before": 0.1},
        )  # fmt: skip
        timeline.record(
            world.incident, kind=kinds[nth % len(kinds)], actor=ENGINE, text=f"event {nth}", evidence=[proof],
            data={"verdict": "fail"}, pinned=nth % 3 == 0,
        )  # fmt: skip
        now = clock.now()
        Alert.objects.create(
            endpoint=world.endpoint, dedup_key=f"{entries} {nth}", status="firing", title=f"alert {nth}", starts_at=now,
            first_seen_at=now, last_seen_at=now, incident=world.incident, last_delivery_id=world.delivery.pk,
        )  # fmt: skip
        Change.objects.create(
            team=world.team, service=world.service, kind="code", summary=f"c{nth}", source="api", author="x",
            occurred_at=now, received_at=now,
        )  # fmt: skip


def test_the_number_of_queries_does_not_grow(client: Client) -> None:
    world = make_world()
    client.force_login(world.member)
    asked: dict[str, list[int]] = {}
    for entries in (3, 40):
        grown(world, entries)
        for name in ("", "/timeline", "/signals", "/runs", "/people", "/postmortem", "/parts/now", "/parts/head"):
            path = f"/incidents/{world.incident.number}{name}"
            client.get(path)
            with CaptureQueriesContext(connection) as queries:
                assert client.get(path).status_code == 200
            asked.setdefault(name, []).append(len(queries))
    assert {name: few for name, (few, many) in asked.items() if few != many} == {}
    assert max(many for _, many in asked.values()) <= 40


def test_the_list_says_how_each_open_one_stands(client: Client, incident: Incident, responder: User) -> None:
    diagnosed(incident, "model")
    over = lifecycle.declare(team=incident.team, title="Long gone", severity=3, actor=ENGINE)
    lifecycle.resolve(over, actor=ENGINE)
    said = words(client.get("/incidents").content.decode())
    with CaptureQueriesContext(connection) as queries:
        client.get("/incidents")
    assert "nobody leads Open nobody has acknowledged for" in said
    assert "Answers got worse Likely cause:" in said
    assert "Resolved lasted" in said
    for nth in range(5):
        lifecycle.declare(team=incident.team, title=f"More {nth}", severity=3, actor=ENGINE)
    with CaptureQueriesContext(connection) as more:
        client.get("/incidents")
    assert len(more) == len(queries)


# --- bad input -------------------------------------------------------------------------------------------------------
LONG = "Wort" * 125
ODD = "‮שלום evil‬ Z̸̢̛͙͚a̶̡͝l̵̨͘g̷̛͜o̴͜͝ \u0000‏"


@pytest.mark.parametrize("title", [LONG, ODD, "x" * 500, "<script>alert(1)</script>", "𓀀" * 200])
def test_any_title_is_shown_on_every_tab(client: Client, team: Team, responder: User, title: str) -> None:
    odd = lifecycle.declare(
        team=team, title=title.replace("\x00", ""), severity=1, actor=ENGINE, summary=title[:50].replace("\x00", "")
    )
    lifecycle.add_note(odd, text=title, actor=person(responder))
    impact.set_figure(odd, "slices", basis="estimate", value=title[:100], reason=title, actor=person(responder))
    for name in ("", "timeline", "signals", "runs", "people", "postmortem"):
        page = client.get(f"/incidents/{odd.number}/{name}".rstrip("/")).content.decode()
        assert "<h1><bdi>" in page
        assert "<script>alert" not in page


def test_an_alert_of_ten_thousand_labels_shows_the_first(client: Client) -> None:
    world = make_world()
    client.force_login(world.member)
    many: dict[str, Any] = {f"label_{nth:05}": LONG for nth in range(10_000)}
    Alert.objects.filter(pk=world.alert.pk).update(labels=many, links=[{"url": "javascript:alert(1)"}, "x"])
    page = client.get(f"/incidents/{world.incident.number}/signals").content.decode()
    assert "10,000 labels" in page
    assert "9,960 more" in page
    assert len(page) < 120_000
    assert "javascript:" not in page


def test_it_knows_its_parts_only(client: Client, incident: Incident, responder: User) -> None:
    assert client.get(f"/incidents/{incident.number}/parts/moon").status_code == 404
    assert client.get(f"/incidents/{incident.number}/moon").status_code == 404

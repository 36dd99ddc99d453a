"""Signals on pages: rows only, never the source; old and missing ones say so; CSV, links and permissions."""

from __future__ import annotations

import csv
import io
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from catalog import changes
from catalog.models import Picture, Service, Signal
from common import clock
from incidents.models import Alert, Incident
from tests.factories import make_incident, make_picture, make_service, make_signal, make_team, make_user
from tests.factories_runbooks import make_runbook
from tests.factories_web import make_world, signed_in
from web.pages import signals
from web.pages.incidents.signals import own_signal

pytestmark = pytest.mark.django_db


@pytest.fixture
def signal() -> Signal:
    """A bound signal that was never read; its source does not exist."""
    service = make_service(
        make_team("search"), slug="chat", dashboard_url="https://grafana.example.com/d/x?var=a&from=1"
    )
    return make_signal(service, "accuracy", "q", unit="ratio", worse="down")


@pytest.fixture
def client(signal: Signal) -> Client:
    """Somebody of the service's team."""
    return signed_in(make_user("sam", team=signal.service.team))


def page(client: Client, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, path
    return " ".join(answer.content.decode().split())


def incident_of(service: Service, **fields: Any) -> Incident:
    return make_incident(service=service, **{"started_at": clock.now() - timedelta(minutes=2)} | fields)


def test_a_signal_that_was_never_read_says_so_and_waits_for_nobody(client: Client, signal: Signal) -> None:
    shown = page(client, "/services/chat")
    assert "never read, reading…" in shown
    assert "<h3>accuracy</h3>" in shown
    assert not Picture.objects.exists()


def test_the_service_page_shows_value_band_and_time(client: Client, signal: Signal) -> None:
    make_picture(signal, 0.9, 0.9, 0.7, 0.7, 0.7)
    shown = page(client, "/services/chat")
    assert "<strong>worse</strong>: below what is usual (0.88 to 0.92 ratio)" in shown
    assert "as of" in shown
    assert 'role="img" aria-label="accuracy,' in shown
    assert "Band: 10 to 90 % of the same hours of 7 earlier days." in shown


def test_what_failed_says_why_and_shows_what_was_read_before(client: Client, signal: Signal) -> None:
    make_picture(signal, state="failed", fault="Prometheus does not answer.", read_at=clock.now() - timedelta(hours=1))
    shown = page(client, "/services/chat")
    assert "Prometheus does not answer. What is shown was read at" in shown
    assert "is-old" in shown


def test_a_little_beside_the_band_is_no_alarm(signal: Signal) -> None:
    assert signals.standing(make_picture(signal, 0.9, 0.87, 0.87, 0.87)).word == "near"
    assert signals.standing(make_picture(signal, 0.7, 0.9, 0.9, key="a")).word == "usual"
    assert signals.standing(make_picture(signal, 0.7, 0.7, 0.7, key="b")).word == "worse"
    assert signals.standing(make_picture(signal, 0.99, 0.99, 0.99, key="c")).word == "better"
    assert signals.standing(make_picture(signal, None, None, key="d")).word == "unknown"
    assert signals.standing(make_picture(signal, 0.7, 0.7, key="e", band={})).word == "unknown"


def test_one_wild_value_is_no_alarm(signal: Signal) -> None:
    assert signals.standing(make_picture(signal, 0.9, 0.9, 0.9, 0.1)).word == "usual"


def test_grafana_opens_at_the_window(client: Client, signal: Signal) -> None:
    picture = make_picture(signal)
    assert picture.start_at is not None
    begin = int(picture.start_at.timestamp() * 1000)
    shown = page(client, "/services/chat")
    assert f"https://grafana.example.com/d/x?var=a&amp;from={begin}&amp;to=" in shown


def test_the_connections_dashboard_stands_in(client: Client, signal: Signal) -> None:
    make_picture(signal)
    Service.objects.update(dashboard_url="")
    signal.connection.config["dashboard_url"] = "https://grafana.example.com/d/prom"
    signal.connection.save()
    assert "https://grafana.example.com/d/prom?from=" in page(client, "/services/chat")


def test_no_dashboard_no_link(client: Client, signal: Signal) -> None:
    make_picture(signal)
    Service.objects.update(dashboard_url="")
    assert "Open in Grafana" not in page(client, "/services/chat")


def test_the_csv_has_every_point_and_the_band(client: Client, signal: Signal) -> None:
    make_picture(signal, 0.9, None, 0.7)
    answer = client.get("/services/chat/signals/accuracy.csv")
    rows = list(csv.reader(io.StringIO(answer.content.decode())))
    assert rows[0] == ["time", "accuracy_ratio", "usual_low", "usual_high"]
    assert [row[1:] for row in rows[1:]] == [["0.9", "0.88", "0.92"], ["", "0.88", "0.92"], ["0.7", "0.88", "0.92"]]
    assert 'filename="chat-accuracy.csv"' in answer["Content-Disposition"]


def test_no_csv_of_what_was_never_read(client: Client, signal: Signal) -> None:
    assert client.get("/services/chat/signals/accuracy.csv").status_code == 404
    make_picture(signal, read_at=None)
    assert client.get("/services/chat/signals/accuracy.csv").status_code == 404


def test_another_team_gets_nothing(signal: Signal) -> None:
    make_picture(signal)
    incident = incident_of(signal.service)
    make_picture(signal, key=incident.key)
    stranger = signed_in(make_user("eve", team=make_team("other")))
    for path in (
        "/services/chat/signals",
        "/services/chat/signals/accuracy.csv",
        f"/incidents/{incident.number}/signals/part",
        f"/incidents/{incident.number}/signals/accuracy.csv",
        f"/incidents/{incident.number}/evidence/1.csv",
    ):
        assert stranger.get(path).status_code == 404, path


def test_the_incident_shows_its_own_signal_with_onset_and_changes(client: Client, signal: Signal) -> None:
    service = signal.service
    incident = incident_of(service, incident_type="accuracy_drop", title="Answers got worse")
    make_picture(signal, key=incident.key)
    changes.record(
        team=service.team, service=service, kind="model", summary="Deploy v43", version="v43", source="x",
        occurred_at=clock.now() - timedelta(minutes=3),
    )  # fmt: skip
    shown = page(client, f"/incidents/{incident.number}/signals/part?own")
    assert "mark-text is-onset" in shown
    assert ">model v43</text>" in shown
    assert "Shown because the incident is of the kind accuracy drop." in shown


def test_all_signals_are_shown_the_alerts_own_first(client: Client, signal: Signal) -> None:
    make_signal(signal.service, "cost", "c")
    incident = incident_of(signal.service, title="Cost exploded")
    shown = page(client, f"/incidents/{incident.number}/signals/part")
    assert shown.index(">cost</h3>") < shown.index(">accuracy</h3>")


def test_what_the_alert_names_comes_before_its_title_and_type(signal: Signal) -> None:
    incident = incident_of(signal.service, incident_type="cost_explosion", title="Latency rose")
    names = ["accuracy", "cost", "error_rate", "latency"]
    assert own_signal(incident, ["accuracy", "cost"], {}) == ("cost", "the incident is of the kind cost explosion")
    assert own_signal(incident, names, {}) == ("latency", "the title names it")
    world = make_world("other")
    Alert.objects.filter(pk=world.alert.pk).update(incident=incident, labels={"signal": "error_rate"})
    assert own_signal(incident, names, {}) == ("error_rate", "the alert names it")


def test_the_furthest_from_usual_is_shown_where_nothing_names_one(signal: Signal) -> None:
    other = make_signal(signal.service, "zeal", "z", worse="down")
    incident = incident_of(signal.service, title="Something is wrong")
    kept = {"accuracy": make_picture(signal, 0.9, 0.9), "zeal": make_picture(other, 0.1, 0.1)}
    assert own_signal(incident, ["accuracy", "zeal"], kept) == ("zeal", "it is the furthest from what is usual")


def test_an_incident_without_service_or_signals_says_so(client: Client, signal: Signal) -> None:
    without = make_incident(team=signal.service.team)
    assert "No service is bound" in page(client, f"/incidents/{without.number}/signals/part?own")
    unmeasured = incident_of(make_service(signal.service.team, slug="bare"))
    assert "bare binds no signals" in page(client, f"/incidents/{unmeasured.number}/signals/part?own")


def test_a_signal_that_is_no_longer_bound_stays_on_its_incident(client: Client, signal: Signal) -> None:
    incident = incident_of(signal.service)
    make_picture(signal, key=incident.key)
    signal.delete()
    assert "<h3>accuracy</h3>" in page(client, f"/incidents/{incident.number}/signals/part")


def test_evidence_has_its_points_as_csv(client: Client) -> None:
    world = make_world()
    answer = signed_in(world.member).get(f"/incidents/{world.incident.number}/evidence/1.csv")
    rows = list(csv.reader(io.StringIO(answer.content.decode())))
    assert rows[0] == ["series", "time", "value"]
    assert [row[2] for row in rows[1:]] == ["0.9", "0.8"]


def test_the_list_names_the_worst_signal_and_what_serves(client: Client, signal: Signal) -> None:
    make_picture(signal, 0.5, 0.5, 0.5)
    signal.service.versions.create(version="v43", state="serving")
    incident_of(signal.service, severity=2)
    shown = page(client, "/services")
    assert '<strong class="signal-standing is-worse">accuracy</strong>' in shown
    assert "1 open incident" in shown
    assert ">v43</span>" in shown


def test_the_list_says_what_is_unknown(client: Client, signal: Signal) -> None:
    make_service(signal.service.team, slug="bare")
    shown = page(client, "/services")
    assert "not read yet" in shown
    assert "no signal bound" in shown
    assert shown.count('<span class="quiet">unknown</span>') == 2


def test_pages_never_ask_the_source(client: Client, signal: Signal, django_assert_max_num_queries: Any) -> None:
    for number in range(8):
        make_picture(make_signal(signal.service, f"more_{number}", "q"))
    client.get("/services/chat")
    with django_assert_max_num_queries(40):
        client.get("/services/chat")


def test_the_api_gives_the_stored_points(client: Client, signal: Signal) -> None:
    make_picture(signal, 0.9, None, 0.7)
    make_signal(signal.service, "cost", "c")
    items = client.get("/api/v1/services/chat/signals").json()["items"]
    assert [point[1] for point in items[0]["points"]] == [0.9, None, 0.7]
    assert items[0]["band"]["words"].startswith("Band: 10 to 90 %")
    assert (items[1]["state"], items[1]["points"], items[1]["band"]) == (None, [], None)


def test_the_api_gives_the_window_of_an_incident(client: Client, signal: Signal) -> None:
    incident = incident_of(signal.service)
    make_picture(signal, 0.1, 0.2, key=incident.key)
    items = client.get(f"/api/v1/services/chat/signals?incident={incident.number}").json()["items"]
    assert [point[1] for point in items[0]["points"]] == [0.1, 0.2]
    assert client.get("/api/v1/services/chat/signals?incident=1").status_code == 404


def test_the_service_says_what_would_start_and_what_it_lacks(client: Client, signal: Signal) -> None:
    body = "  check:\n    - {id: look, check: metric.query, with: {signal: cost}, pass_if: value > 0}\n"
    make_runbook(signal.service.team, body, head="triggers:\n  - alert: alert.status == 'firing'\n")
    shown = page(client, "/services/chat")
    assert "Runbooks that would start" in shown
    assert "cost is not bound" in shown

"""Connections: checked, encrypted, write-only."""

from __future__ import annotations

from typing import Any

import pytest

from catalog import connections
from catalog.actors import ENGINE, Actor
from catalog.connectors.prometheus import PrometheusSecrets
from catalog.models import Connection, Team
from common.errors import Conflict, Forbidden, Invalid, NotFound
from tests.factories import make_actor
from tests.fakes.prometheus import fake_prometheus

pytestmark = pytest.mark.django_db
CONFIG = {"url": "https://prometheus.example.com"}


def save(team: Team, actor: Actor = ENGINE, **fields: Any) -> Connection:
    """Save the connection `prom`."""
    given: dict[str, Any] = {"slug": "prom", "connector": "prometheus", "config": CONFIG, "secrets": None}
    return connections.save(team, actor=actor, **(given | fields))


def test_it_encrypts_secrets_and_opens_them(team: Team) -> None:
    row = save(team, secrets={"bearer": "very-secret-token"})
    assert b"very-secret" not in bytes(row.secrets_encrypted)
    _, _, secrets = connections.opened(Connection.objects.get())
    assert isinstance(secrets, PrometheusSecrets)
    assert secrets.bearer.get_secret_value() == "very-secret-token"
    assert "very-secret" not in repr(secrets)


def test_it_keeps_secrets_that_are_not_given(team: Team) -> None:
    save(team, secrets={"bearer": "very-secret-token"})
    assert connections.has_secrets(save(team, config=CONFIG | {"org_id": "a"}))
    assert not connections.has_secrets(save(team, secrets={}))


def test_it_never_sends_kept_secrets_to_another_host(team: Team) -> None:
    save(team, secrets={"bearer": "very-secret-token"})
    with pytest.raises(Invalid, match="given again"):
        save(team, config={"url": "https://attacker.example.com"})


def test_it_names_wrong_fields_without_their_values(team: Team) -> None:
    with pytest.raises(Invalid) as caught:
        save(team, secrets={"beerer": "very-secret-token"})
    assert caught.value.extra["fields"] == {"secrets.beerer": "Extra inputs are not permitted"}
    assert "very-secret" not in str(caught.value.extra) + caught.value.sentence
    with pytest.raises(Invalid, match=r"config\.url"):
        save(team, config={"url": "ftp://x"})


@pytest.mark.parametrize("slug", ["", "Prom", "a b", "x" * 41, "../x"])
def test_it_refuses_strange_names(team: Team, slug: str) -> None:
    with pytest.raises(Invalid) as caught:
        save(team, slug=slug)
    assert "slug" in str(caught.value.extra["fields"])


def test_it_names_the_nearest_connector(team: Team) -> None:
    with pytest.raises(NotFound) as caught:
        save(team, connector="promethus")
    assert "prometheus" in caught.value.fix


def test_it_does_not_change_its_kind(team: Team) -> None:
    save(team)
    with pytest.raises(Conflict):
        save(team, connector="flag")


def test_it_needs_leave(team: Team) -> None:
    with pytest.raises(Forbidden):
        save(team, make_actor(team, ["responder"]))
    assert save(team, make_actor(team, ["admin"])).slug == "prom"


def test_it_keeps_a_health_line(team: Team) -> None:
    with fake_prometheus() as fake:
        row = connections.check(save(team, config={"url": fake.url}))
    assert (row.healthy, row.health) == (True, "It answers queries.")
    row = connections.check(row)
    assert row.healthy is False
    assert "BACKSTOP_OUTBOUND_ALLOW" in row.health
    assert save(team).healthy is None

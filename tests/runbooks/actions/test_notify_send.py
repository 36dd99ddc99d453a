"""notify.send: one message per address and key."""

from __future__ import annotations

import pytest

from catalog.models import Address, Team
from common import clock
from common.secrets import encrypt
from incidents.models import Message
from runbooks.actions.notify_send import NotifySend, NotifySendParams
from tests.factories import make_incident
from tests.factories_checks import make_context

pytestmark = pytest.mark.django_db
ACTION = NotifySend()


def make_address(team: Team) -> Address:
    """A mail address of a team."""
    return Address.objects.create(
        team=team,
        label="on-call mail",
        channel="mail",
        url_encrypted=encrypt(b"mailto://oncall@example.com"),
        url_hint="mailto://…",
        created_at=clock.now(),
    )


def test_it_tells_the_team_once(team: Team) -> None:
    make_address(team)
    incident = make_incident(team)
    context = make_context(team=team, incident_number=incident.number, incident_key=incident.key)
    done = ACTION.apply(NotifySendParams(text="Rolled back.\nWatching."), "key", context)
    ACTION.apply(NotifySendParams(text="Rolled back.\nWatching."), "key", context)
    message = Message.objects.get()
    assert message.subject == f"{incident.key}: Rolled back."
    assert message.link.endswith(f"/incidents/{incident.number}")
    assert done.result["told"] == 1
    assert "on-call mail" in done.summary


def test_it_says_when_nobody_can_be_told(team: Team) -> None:
    context = make_context(team=team)
    assert ACTION.preview(NotifySendParams(text="Hello"), context).warnings
    assert "nobody was told" in ACTION.apply(NotifySendParams(text="Hello"), "key", context).summary


def test_it_previews_the_text(team: Team) -> None:
    make_address(team)
    found = ACTION.preview(NotifySendParams(text="Hello", subject="Hi"), make_context(team=team))
    assert found.sentence == f"Send “INC-1: Hi” to 1 address of team {team.slug}"
    assert found.warnings == []

"""What was changed, and when."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from catalog import changes
from catalog.models import Change, Team
from common import clock
from common.errors import Invalid
from tests.factories import make_service, make_team


def make_change(team: Team, **fields: Any) -> tuple[Change, bool]:
    """A change of a team."""
    defaults: dict[str, Any] = {"kind": "code", "summary": "Deployed v2", "source": "test", "occurred_at": clock.now()}
    return changes.record(team=team, **(defaults | fields))


def test_it_keeps_a_change(team: Team) -> None:
    service = make_service(team)
    change, created = make_change(team, service=service, version="v2", labels={"sha": "abc"}, link="javascript:x")
    assert created
    assert (change.service, change.version, change.labels, change.link) == (service, "v2", {"sha": "abc"}, "")


def test_it_keeps_one_row_for_one_external_id_and_the_newest_telling(team: Team) -> None:
    now = clock.now()
    service = make_service(team)
    first, _ = make_change(team, external_id="d1", summary="pending", service=service, occurred_at=now)
    again, created = make_change(team, external_id="d1", summary="success", occurred_at=now + timedelta(minutes=1))
    late, _ = make_change(team, external_id="d1", summary="queued", occurred_at=now - timedelta(minutes=1))
    assert not created
    assert first.pk == again.pk == late.pk
    assert Change.objects.get().summary == "success"
    assert Change.objects.get().service == service


def test_it_keeps_teams_apart(team: Team) -> None:
    make_change(team, external_id="d1")
    assert make_change(make_team("other"), external_id="d1")[1] is True


def test_it_lists_what_came_before_newest_first(team: Team) -> None:
    now, service = clock.now(), make_service(team)
    other = make_service(team)
    for hours, owner in ((1, service), (2, None), (3, other), (80, service), (-1, service)):
        make_change(team, summary=f"{hours} h ago", service=owner, occurred_at=now - timedelta(hours=hours))
    make_change(make_team("other"), summary="foreign", occurred_at=now)
    assert [change.summary for change in changes.before(service, until=now)] == ["1 h ago", "2 h ago"]


@pytest.mark.parametrize("fields", [{"kind": "weather"}, {"summary": " "}])
def test_it_refuses_what_is_not_a_change(team: Team, fields: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        make_change(team, **fields)


def test_it_refuses_another_teams_service(team: Team) -> None:
    with pytest.raises(Invalid):
        make_change(team, service=make_service(make_team("other")))

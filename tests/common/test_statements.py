"""Statements written once say what Django says, on both databases, for every value."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import DataError, IntegrityError, connection, transaction
from django.db.models import Model, QuerySet
from django.db.transaction import TransactionManagementError
from django.forms.models import model_to_dict
from django.test.utils import CaptureQueriesContext

from catalog.models import Service, Team
from common import clock, statements
from common.statements import HowMany, Which, Written
from tests.factories import make_service, make_team

pytestmark = pytest.mark.django_db


def columns(row: Model) -> dict[str, object]:
    return {name: value for name, value in row.__dict__.items() if name != "_state"}


def test_rows_are_those_of_the_queryset_with_what_it_joins(team: Team) -> None:
    service = make_service(team, "search")
    asked = Written(lambda team, slug: Service.objects.select_related("team").filter(team=team, slug=slug))
    for _ in range(2):
        (found,) = asked(team.pk, "search")
        assert columns(found).keys() >= columns(service).keys() - {"_team_cache"}
        assert model_to_dict(found) == model_to_dict(Service.objects.get(pk=service.pk))
        with CaptureQueriesContext(connection) as seen:
            assert found.team == team
        assert not seen.captured_queries
    assert asked(team.pk, "other") == []
    assert asked.first(team.pk, "other") is None


def test_what_is_not_read_is_fetched_when_it_is_used(team: Team) -> None:
    found = Written(lambda team: Team.objects.only("pk").filter(pk=team)).first(team.pk)
    assert found is not None
    with CaptureQueriesContext(connection) as seen:
        assert found.slug == team.slug
    assert len(seen.captured_queries) == 1


def test_it_keeps_what_never_changes_and_uses_a_value_twice() -> None:
    for slug in ("a", "b"):
        make_team(slug)
    asked = Written(lambda slug: Team.objects.filter(slug__in=["a", slug]).exclude(name=slug).order_by("slug")[:2])
    assert [row.slug for row in asked("b")] == ["a", "b"]
    assert [row.slug for row in asked("c")] == ["a"]


def test_a_value_that_is_changed_on_its_way_is_refused_when_it_is_written() -> None:
    with pytest.raises(ValueError, match=r"values \[0\] are not used as they are given"):
        Written(lambda word: Team.objects.filter(slug__icontains=word))("a")


def test_a_query_that_locks_is_asked_inside_a_transaction_only(transactional_db: None) -> None:
    team = make_team("locked")
    asked: Written[Team] = Written(lambda pk: Team.objects.select_for_update().filter(pk=pk).order_by())
    for _ in range(2):
        with transaction.atomic():
            assert asked(team.pk) == [team]
        if connection.vendor == "postgresql":
            with pytest.raises(TransactionManagementError):
                asked(team.pk)


def test_columns_are_those_that_values_list_gives(team: Team) -> None:
    now = clock.now()
    for days, slug in ((1, "search"), (3, "chat")):
        Service.objects.filter(pk=make_service(team, slug).pk).update(created_at=now - timedelta(days=days))

    def older(moment: object) -> QuerySet[Service]:
        return Service.objects.filter(created_at__lt=moment).order_by("slug")

    slugs = Written(lambda moment: older(moment).values_list("slug", flat=True))
    pairs = Written(lambda moment: older(moment).values_list("created_at", "rollback"))
    for moment in (now, now - timedelta(days=2), now - timedelta(days=9)):
        assert slugs(moment) == list(older(moment).values_list("slug", flat=True))
        assert pairs(moment) == list(older(moment).values_list("created_at", "rollback"))


def test_a_row_is_added_once_and_another_fault_is_told(team: Team) -> None:
    same = Team(slug=team.slug, name="again", created_at=clock.now())
    assert statements.insert_once(same, lambda: team) == (team, False)
    with pytest.raises(IntegrityError):
        statements.insert_once(same, lambda: None)
    other = Team(slug="other", name="other", created_at=clock.now())
    assert statements.insert_once(other, Team.objects.filter(slug="other").first) == (other, True)


def test_how_many_are_as_many_as_count_says(team: Team) -> None:
    now = clock.now()
    for days, slug in ((1, "search"), (1, "chat"), (3, "voice")):
        Service.objects.filter(pk=make_service(team, slug).pk).update(created_at=now - timedelta(days=days))
    before = HowMany(lambda team, day: Service.objects.filter(team=team, created_at__date__lt=day))
    for days, many in ((0, 3), (1, 1), (3, 0)):
        assert before(team.pk, now.date() - timedelta(days=days)) == many
    assert before(team.pk + 1, now.date()) == 0


def test_which_of_several_find_anything_is_one_statement(team: Team) -> None:
    make_service(team, "search")
    asks: dict[str, Callable[[Any, Any], QuerySet[Service]]] = {
        "old": lambda slug, moment: Service.objects.filter(created_at__lt=moment),
        "named": lambda slug, moment: Service.objects.filter(slug=slug).order_by("pk")[:5],
        "both": lambda slug, moment: Service.objects.filter(slug=slug, created_at__lt=moment),
    }
    which = Which(asks)
    later = clock.now() + timedelta(seconds=1)
    assert which("search", later) == {"old", "named", "both"}
    with CaptureQueriesContext(connection) as seen:
        assert which("chat", later) == {"old"}
        assert which("search", later - timedelta(days=1)) == {"named"}
    assert len(seen.captured_queries) == 2


@pytest.mark.parametrize("wanted", [("search", "other"), "search"])
def test_an_update_changes_the_rows_that_are_meant(team: Team, wanted: object) -> None:
    one, two = make_service(team, "search"), make_service(team, "chat")
    at = clock.now() - timedelta(days=3)
    given: dict[str, object] = {"title": 'It\'s "quoted" % — 𝔘', "created_at": at, "rollback": {"a": [1, None, "é"]}}
    assert statements.update(Service, given, slug=wanted, team=team.pk) == 1
    for row in (one, two):
        row.refresh_from_db()
    assert (one.title, one.created_at, one.rollback) == (given["title"], at, given["rollback"])
    assert two.title != one.title
    assert statements.update(Service, {"title": ""}, pk=0) == 0


def test_numbers_are_raised_by_one(team: Team) -> None:
    assert statements.increment(Team, "version", pk=team.pk, version=team.version) == 1
    assert statements.increment(Team, "version", pk=team.pk, version=team.version) == 0
    assert Team.objects.get(pk=team.pk).version == team.version + 1


def test_a_row_is_added_as_save_adds_it(team: Team) -> None:
    saved = Service(team=team, slug="saved", title="x", created_at=clock.now())
    saved.save()
    added = Service(team=team, slug="added", title="x", created_at=saved.created_at)
    statements.insert(added)
    found: QuerySet[Service] = Service.objects.filter(pk__in=[saved.pk, added.pk]).order_by("pk")
    same = [model_to_dict(row, exclude=["id", "slug"]) for row in found]
    assert same[0] == same[1]
    assert added == found[1]
    added.title = "changed"
    added.save()
    assert Service.objects.get(slug="added").title == "changed"


def test_in_turn_each_is_written_if_the_one_before_it_found_its_row(team: Team) -> None:
    now = clock.now()

    def added(slug: str) -> Service:
        return Service(team=team, slug=slug, title="x", rollback={"a": [1, None, "é"]}, created_at=now)

    saved, other, last = added("saved"), added("other"), added("last")
    saved.save()
    renamed = statements.changing(Team, {"name": "It's %"}, "version", pk=team.pk, version=team.version)
    with CaptureQueriesContext(connection) as seen:
        assert statements.in_turn(renamed, statements.adding(other), statements.adding(last)) == 3
        assert statements.in_turn(renamed, statements.adding(added("never"))) == 0
    assert connection.vendor == "sqlite" or len(seen.captured_queries) == 2
    assert (Team.objects.get(pk=team.pk).name, Team.objects.get(pk=team.pk).version) == ("It's %", team.version + 1)
    one, two, three = Service.objects.order_by("pk")
    assert (two, three) == (other, last)
    same = [model_to_dict(row, exclude=["id", "slug"]) for row in (one, two, three)]
    assert same[0] == same[1] == same[2]
    assert statements.in_turn(statements.adding(added("first")), statements.changing(Service, {"tier": 2}, pk=0)) == 1


def test_a_text_too_long_for_its_column_is_refused_in_turn_too(team: Team) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite knows no lengths")
    with pytest.raises(DataError), transaction.atomic():
        statements.in_turn(statements.adding(Service(team=team, slug="x" * 200, created_at=clock.now())))


def test_in_turn_is_for_transactions_only(transactional_db: None) -> None:
    team = make_team("alone")
    with pytest.raises(TransactionManagementError):
        statements.in_turn(statements.changing(Team, {"name": "x"}, pk=team.pk))

"""Texts are kept as they were, faulty ones are refused, and publishing needs a second person where that is on."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.conf import settings

from catalog.actors import ENGINE, Actor
from catalog.models import Team
from common.errors import Conflict, Forbidden, Invalid, NotFound
from runbooks import library, revisions
from runbooks.models import Revision, Runbook
from tests.factories import make_actor, make_team

TEXT = (library.FOLDER / "data_issue.yaml").read_text().replace("id: data_issue", "id: mine", 1)


def save(team: Team, actor: Actor, text: str = TEXT, runbook: Runbook | None = None) -> Revision:
    return revisions.save(runbook, text=text, actor=actor, team=team, note="first", source="editor")


def test_it_keeps_text_parts_and_author(team: Team) -> None:
    actor = make_actor(team, ["author"])
    revision = save(team, actor)
    assert (revision.number, revision.text, revision.spec) == (1, TEXT, 1)
    assert (revision.author, revision.author_id) == (actor.label, actor.user_id)
    assert revision.parsed["phases"]["verify"][0]["wait"] == 1800
    assert revision.published_at is None
    assert revision.runbook.current is None


def test_it_counts_up_and_keeps_one_of_each_text(team: Team) -> None:
    actor = make_actor(team, ["author"])
    first = save(team, actor)
    second = save(team, actor, TEXT + "# more\n", first.runbook)
    assert (second.number, save(team, actor, TEXT, first.runbook)) == (2, first)
    assert Revision.objects.count() == 2


def test_it_refuses_a_faulty_text_with_all_findings(team: Team) -> None:
    with pytest.raises(Invalid) as caught:
        save(team, make_actor(team), TEXT.replace("spec: 1", "spec: 2").replace("wait: 30m", "wait: 30"))
    codes = [finding["code"] for finding in caught.value.extra["findings"]]  # type: ignore[attr-defined]
    assert {"RB001", "RB052"} <= set(codes)
    assert not Runbook.objects.exists()


def test_it_refuses_unknown_people(team: Team) -> None:
    with pytest.raises(Invalid, match="role:nobody"):
        save(team, make_actor(team), TEXT.replace("role:oncall", "role:nobody"))


def test_it_refuses_another_id(team: Team) -> None:
    actor = make_actor(team)
    runbook = save(team, actor).runbook
    with pytest.raises(Invalid, match="stays so"):
        save(team, actor, TEXT.replace("id: mine", "id: yours", 1), runbook)


def test_it_refuses_the_id_of_another_team(team: Team) -> None:
    save(team, make_actor(team))
    other = make_team("other")
    with pytest.raises(Conflict, match="Another team"):
        save(other, make_actor(other))


def test_it_refuses_people_without_the_permission(team: Team) -> None:
    with pytest.raises(Forbidden):
        save(team, make_actor(team, ["responder"]))
    with pytest.raises(NotFound):
        save(team, make_actor(make_team("other")))


def test_it_publishes(team: Team) -> None:
    revision = save(team, make_actor(team, ["author"]))
    published = revisions.publish(revision, actor=make_actor(team, ["approver"]))
    runbook = Runbook.objects.get(slug="mine")
    assert runbook.current == published
    assert (runbook.title, runbook.incident_type) == ("Data issue upstream of a model", "data_issue")
    assert published.published_by
    assert "override" not in published.note


def test_it_notes_own_work_when_two_people_are_not_asked_for(team: Team) -> None:
    actor = make_actor(team)
    revision = revisions.publish(save(team, actor), actor=actor)
    assert revision.note == "first (override: published own work)"


def test_it_refuses_own_work_when_two_people_are_asked_for(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings.BACKSTOP, "two_person", "on")
    actor = make_actor(team)
    revision = save(team, actor)
    with pytest.raises(Forbidden, match="last editor"):
        revisions.publish(revision, actor=actor)
    assert revisions.publish(revision, actor=make_actor(team, ["author"])).published_at


def test_it_publishes_once(team: Team) -> None:
    revision = revisions.publish(save(team, make_actor(team)), actor=ENGINE)
    assert revisions.publish(revision, actor=make_actor(team)).published_by == ENGINE.label


def test_it_refuses_to_publish_for_viewers_and_strangers(team: Team) -> None:
    revision = save(team, make_actor(team))
    with pytest.raises(Forbidden):
        revisions.publish(revision, actor=make_actor(team, ["viewer"]))
    with pytest.raises(NotFound):
        revisions.publish(revision, actor=make_actor(make_team("other")))


@pytest.fixture
def shipped(team: Team) -> Runbook:
    library.load_shipped()
    return Runbook.objects.get(slug="data_issue")


def make_org_admin(team: Team) -> Actor:
    actor = make_actor(team)
    assert actor.user is not None
    actor.user.is_org_admin = True
    actor.user.save()
    return actor


def test_it_lets_only_org_admins_change_what_serves_all_teams(team: Team, shipped: Runbook) -> None:
    edited = shipped.revisions.get().text + "# ours\n"
    author, admin = make_actor(team, ["author"]), make_org_admin(team)
    for runbook in (shipped, None):
        with pytest.raises(Forbidden, match="shipped for all teams"):
            save(team, author, edited, runbook)
    revision = save(team, admin, edited, shipped)
    with pytest.raises(Forbidden, match="shipped for all teams"):
        revisions.publish(revision, actor=author)
    assert revisions.publish(revision, actor=admin).runbook.team is None


def test_it_makes_the_copy_of_a_team_under_another_id(team: Team, shipped: Runbook) -> None:
    author = make_actor(team, ["author"])
    text = revisions.as_copy(shipped, shipped.revisions.get().text, team)
    revision = save(team, author, text, shipped)
    copy = revision.runbook
    assert (copy.slug, copy.team, copy.copy_of, revision.number) == ("data_issue_search", team, shipped, 1)
    assert save(team, author, text + "# more\n", shipped).runbook == copy
    assert shipped.revisions.count() == 1


def test_it_puts_a_published_copy_in_place_of_its_original_for_its_team_only(team: Team, shipped: Runbook) -> None:
    def started(where: Team) -> set[str]:
        return {row.slug for row in Runbook.objects.started_by_alerts_of(where)} & {"data_issue", "data_issue_search"}

    actor, other = make_actor(team), make_team("other")
    revision = save(team, actor, revisions.as_copy(shipped, shipped.revisions.get().text, team), shipped)
    assert started(team) == {"data_issue"}
    revisions.publish(revision, actor=actor)
    assert (started(team), started(other)) == ({"data_issue_search"}, {"data_issue"})
    Runbook.objects.filter(slug="data_issue_search").update(enabled=False)
    assert started(team) == {"data_issue"}


def test_it_takes_no_id_from_a_team_for_the_library(team: Team, shipped: Runbook) -> None:
    Runbook.objects.filter(slug="data_issue").update(team=team)
    Revision.objects.filter(runbook=shipped).update(sha256="0" * 64)
    library.load_shipped()
    assert Revision.objects.filter(runbook=shipped).count() == 1


def test_it_keeps_the_file_of_the_operator_over_the_library(team: Team, shipped: Runbook, tmp_path: Path) -> None:
    (tmp_path / "data_issue.yaml").write_text(shipped.revisions.get().text + "# of the operator\n")
    library.load_folder(tmp_path, team)
    library.load_shipped()
    shipped.refresh_from_db()
    assert shipped.current is not None
    assert (shipped.current.source, shipped.current.number) == ("file", 2)

"""Services from files: whole, idempotent, and with the place of every fault."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from catalog import loader, versions
from catalog.models import Service, Team
from common.errors import Invalid
from common.yaml import FileFaults
from tests.factories import make_connection, make_service, make_team, make_user
from tests.factories_checks import NOW

pytestmark = pytest.mark.django_db
GOOD = """\
spec: 1
service: rag-chat
title: RAG chat
description: Answers questions from the handbook.
tier: 1
dashboard_url: https://grafana.example.com/d/abc?from=now-6h#panel
default_owner: ada
depends_on: [index]
signals:
  accuracy:
    connection: prom
    query: sum(ml_labels_total{result="right"}) / sum(ml_labels_total)
    worse: down
    compare:
      kind: rate
      good: sum(increase(ml_labels_total{result="right"}[$window]))
      all: sum(increase(ml_labels_total[$window]))
  latency: {connection: prom, query: p95, unit: s, compare: {kind: quantile, q: 0.95}}
versions:
  - {version: v42, state: kept, served_from: "2026-11-01T00:00:00Z"}
  - {version: v43, state: serving, served_from: "2026-11-19T00:00:00Z"}
rollback: {connection: flags, flag: chat-model}
evaluation: {connection: model, path: /eval, set: golden}
"""


@pytest.fixture
def ready(team: Team) -> Team:
    """A team with what the file refers to."""
    for slug, connector in (("prom", "prometheus"), ("flags", "flag"), ("model", "http_json")):
        make_connection(team, slug=slug, connector=connector, url="https://a.test")
    make_user("ada", team=team)
    make_service(team, slug="index")
    return team


def faults(text: str, team: Team) -> list[dict[str, Any]]:
    """What is wrong with a file."""
    with pytest.raises(Invalid) as caught:
        loader.load(text, file="a.yaml", team=team)
    findings = caught.value.extra["findings"]
    assert isinstance(findings, list)
    return findings


def test_it_loads_everything(ready: Team) -> None:
    service = loader.load(GOOD, file="a.yaml", team=ready)
    assert (service.tier, service.team, service.source_file) == (1, ready, "a.yaml")
    assert [row.slug for row in service.depends_on.all()] == ["index"]
    assert service.default_owner is not None
    accuracy = service.signals.get(name="accuracy")
    assert (accuracy.worse, accuracy.compare["kind"], accuracy.connection.slug) == ("down", "rate", "prom")
    assert service.rollback == {"connection": "flags", "flag": "chat-model"}
    assert service.evaluation["set"] == "golden"
    serving = versions.serving(service)
    assert serving is not None
    assert serving.version == "v43"


def test_it_changes_nothing_when_loaded_twice(ready: Team) -> None:
    first = loader.load(GOOD, file="a.yaml", team=ready)
    ids = list(first.signals.values_list("pk", flat=True))
    again = loader.load(GOOD, file="a.yaml", team=ready)
    assert (again.pk, list(again.signals.values_list("pk", flat=True)), again.versions.count()) == (first.pk, ids, 2)


def test_it_does_not_undo_a_rollback(ready: Team) -> None:
    service = loader.load(GOOD, file="a.yaml", team=ready)
    versions.promote(service, "v42", at=NOW)
    loader.load(GOOD, file="a.yaml", team=ready)
    assert dict(service.versions.values_list("version", "state")) == {"v42": "serving", "v43": "kept"}


def test_it_follows_the_file(ready: Team) -> None:
    loader.load(GOOD, file="a.yaml", team=ready)
    line = next(row for row in GOOD.splitlines() if "latency" in row)
    shorter = GOOD.replace(line + "\n", "").replace("tier: 1", "tier: 3").replace("depends_on: [index]\n", "")
    service = loader.load(shorter, file="a.yaml", team=ready)
    assert (service.tier, service.signals.count(), service.depends_on.count()) == (3, 1, 0)


@pytest.mark.parametrize(
    ("old", "new", "place", "words"),
    [
        ("tier: 1", "teir: 1", (5, 1), 'Did you mean "tier"?'),
        ("tier: 1", "tier: 7", (5, 7), "tier"),
        ("title: RAG chat\n", "", (1, 1), "Add `title:`."),
        ("    worse: down", "    wurse: down", (13, 5), 'Did you mean "worse"?'),
        ("    worse: down", "    worse: sideways", (13, 12), "'up' or 'down'"),
        ("      kind: rate", "      kind: rates", (15, 7), "compare"),
        ("[$window]))\n  lat", "[5m]))\n  lat", (15, 7), "$window"),
        ("connection: prom\n", "connection: prm\n", (11, 17), 'Did you mean "prom"?'),
        ("default_owner: ada", "default_owner: adda", (7, 16), 'Did you mean "ada"?'),
        ("[index]", "[indx]", (8, 14), 'Did you mean "index"?'),
        ("[index]", "[rag-chat]", (8, 14), "depend on itself"),
        ("{connection: flags", "{connection: model", (22, 24), "Kinds that can: flag, file_flag."),
        ("state: kept", "state: serving", (21, 27), "second version"),
        ("version: v42", "version: v43", (21, 15), "twice"),
        ("spec: 1", "spec: 2", (1, 7), "spec"),
        ("tier: 1", "team: nobody", (5, 7), "no team"),
    ],
)
def test_it_says_where_and_what(ready: Team, old: str, new: str, place: tuple[int, int], words: str) -> None:
    assert old in GOOD
    found = faults(GOOD.replace(old, new, 1), ready)
    said = [(row["line"], row["column"]) for row in found if words in row["message"] + row["fix"]]
    assert said == [place], found
    assert Service.objects.filter(slug="rag-chat").count() == 0


def test_it_refuses_what_is_no_mapping(ready: Team) -> None:
    assert faults("- a\n", ready)[0]["line"] == 1
    assert faults("a: [", ready)[0]["code"] == "RB070"


def test_it_keeps_teams_apart(ready: Team) -> None:
    make_service(make_team("other"), slug="rag-chat")
    assert "belongs to team other" in faults(GOOD, ready)[0]["message"]


def test_it_loads_a_folder_whose_files_need_one_another(ready: Team, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("spec: 1\nservice: a\ntitle: A\ndepends_on: [b]\n")
    (tmp_path / "b.yml").write_text("spec: 1\nservice: b\ntitle: B\n")
    (tmp_path / "notes.txt").write_text("not one")
    assert [service.slug for service in loader.load_folder(tmp_path, ready)] == ["a", "b"]
    assert Service.objects.get(slug="a").depends_on.get().slug == "b"


def test_a_faulty_file_does_not_keep_the_others_out(ready: Team, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("spec: 1\nservice: a\n")
    (tmp_path / "b.yaml").write_text("spec: 1\nservice: b\ntitle: B\n")
    with pytest.raises(FileFaults, match=r"a\.yaml"):
        loader.load_folder(tmp_path, ready)
    assert Service.objects.filter(slug="b").exists()


def test_it_sets_how_far_runs_may_go_where_the_file_says_so(ready: Team) -> None:
    service = loader.load(GOOD, file="chat.yaml", team=ready)
    assert service.autonomy == "approve"
    assert loader.load(GOOD + "autonomy: suggest\n", file="chat.yaml", team=ready).autonomy == "suggest"
    assert loader.load(GOOD, file="chat.yaml", team=ready).autonomy == "suggest"
    [fault] = loader.check(GOOD + "autonomy: sugest\n", file="chat.yaml", team=ready)
    assert (fault.code, fault.line, fault.column) == ("SV003", GOOD.count("\n") + 1, 11)
    assert "'observe', 'suggest', 'approve' or 'auto_reversible'" in fault.message

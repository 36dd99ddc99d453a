"""change.rank on recorded changes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from catalog.models import Service
from runbooks.checks.base import CheckError, Finding
from runbooks.checks.change_rank import ChangeRank, ChangeRankParams
from tests.factories import make_service
from tests.factories_checks import NOW, make_change, make_context

pytestmark = pytest.mark.django_db


def ask(service: Service, **params: Any) -> Finding:
    """Run the check."""
    return ChangeRank().run(ChangeRankParams.model_validate(params), make_context(service))


def test_it_names_a_suspect() -> None:
    service = make_service()
    make_change(service, minutes_before=5, summary="Model v43", version="v43")
    make_change(service, minutes_before=600, kind="prompt", summary="Prompt 7")
    found = ask(service)
    assert (found.verdict, found.samples, found.result["top"]["version"]) == ("fail", 2, "v43")
    assert found.summary.startswith(
        "Model v43, 5 min before the onset, is the likeliest cause among 2 recorded changes"
    )
    assert found.value == found.result["top"]["posterior"] > 0.5


def test_it_cannot_tell_when_no_change_was_ever_reported() -> None:
    found = ask(make_service())
    assert (found.verdict, found.reason, found.no_data) == ("inconclusive", "no_data", True)


def test_it_rules_changes_out_when_none_is_near() -> None:
    service = make_service()
    make_change(service, minutes_before=60 * 24 * 10)
    assert (ask(service).verdict, ask(service).value) == ("pass", 0.0)
    make_change(service, minutes_before=60 * 40, kind="data_pipeline")
    assert ask(service).verdict == "pass"


def test_it_cannot_tell_between_the_limits() -> None:
    service = make_service()
    make_change(service, minutes_before=45)
    assert (ask(service).verdict, ask(service).reason) == ("inconclusive", "no_clear_suspect")


def test_it_does_not_suspect_our_own_rollback() -> None:
    service = make_service()
    make_change(service, minutes_before=1, summary="Rolled back", effect_key="k" * 64)
    make_change(service, minutes_before=50, summary="Deployed")
    found = ask(service)
    assert [row["change"] for row in found.result["changes"]] == ["Deployed"]
    assert "Rolled back" in found.result["own"][0]


def test_it_follows_evidence_from_other_steps() -> None:
    service = make_service()
    make_change(service, minutes_before=5, version="v43", external_id="d-1")
    for name in ("v43", "model", "d-1"):
        assert ask(service, exonerates=[name]).verdict == "pass"


def test_it_compares_labels_with_the_affected_traffic() -> None:
    service = make_service()
    make_change(service, minutes_before=5, labels={"tenant": "acme"})
    assert ask(service, affected={"tenant": "acme"}).verdict == "fail"
    assert ask(service, affected={"tenant": "other"}).value == 0


def test_it_shows_later_changes_without_suspecting_them() -> None:
    service = make_service()
    make_change(service, minutes_before=-20)
    found = ask(service)
    assert (found.verdict, found.result["changes"][0]["time"]) == ("pass", 0)


def test_it_keeps_to_the_asked_kinds() -> None:
    service = make_service()
    make_change(service, minutes_before=5)
    assert ask(service, kinds=["prompt"]).samples == 0
    with pytest.raises(CheckError, match="no kind of change"):
        ask(service, kinds=["modle"])


def test_it_notes_clocks_that_disagree() -> None:
    service = make_service()
    change = make_change(service, minutes_before=5)
    type(change).objects.filter(pk=change.pk).update(received_at=NOW - timedelta(hours=2))
    assert "its clock differs" in ask(service).result["notes"][0]

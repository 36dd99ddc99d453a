"""Which version serves, and which served before."""

from __future__ import annotations

import pytest

from catalog import versions
from catalog.models import Service
from common.errors import NotFound
from tests.factories import make_service
from tests.factories_checks import NOW, make_versions

pytestmark = pytest.mark.django_db


@pytest.fixture
def service() -> Service:
    """A service that served v41, v42 and now v43."""
    made = make_service()
    make_versions(made, ("v41", "kept"), ("v42", "kept"), ("v43", "serving"))
    return made


def name(row: object) -> str:
    """The version's name."""
    return str(getattr(row, "version", None))


def test_it_knows_serving_and_previous(service: Service) -> None:
    assert (name(versions.serving(service)), name(versions.previous(service))) == ("v43", "v42")


def test_it_goes_back_only_to_what_is_kept(service: Service) -> None:
    service.versions.filter(version="v42").update(state="retired")
    assert name(versions.previous(service)) == "v41"


def test_it_promotes_and_keeps_the_other(service: Service) -> None:
    versions.promote(service, "v42", at=NOW)
    versions.promote(service, "v42", at=NOW)
    states = dict(service.versions.values_list("version", "state"))
    assert states == {"v41": "kept", "v42": "serving", "v43": "kept"}
    assert service.versions.get(version="v43").served_to == NOW
    assert (name(versions.serving(service)), name(versions.previous(service))) == ("v42", "v41")


def test_it_takes_a_version_that_was_unknown(service: Service) -> None:
    versions.promote(service, "v44", at=NOW)
    assert (name(versions.serving(service)), name(versions.previous(service))) == ("v44", "v43")


def test_it_resolves_words_and_names(service: Service) -> None:
    assert [name(versions.resolve(service, word)) for word in ("serving", "previous", "v41")] == ["v43", "v42", "v41"]
    with pytest.raises(NotFound) as caught:
        versions.resolve(service, "v9")
    assert "v43 (serving)" in caught.value.fix


def test_it_knows_nothing_of_an_empty_service() -> None:
    empty = make_service()
    assert (versions.serving(empty), versions.previous(empty)) == (None, None)

"""Real processes die, freeze and lose their database: another worker takes over, and no effect happens twice.

F5 to F8, F15 and F16 of the promises for every commit; the whole matrix is nightly (test_crash_matrix_nightly.py).
Nothing here calls the ticker: the living worker's own does what is done.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from tests import servers
from tests.faults.site import Site
from tests.faults.site import site as running_site

pytestmark = [pytest.mark.real, pytest.mark.slow]


@pytest.fixture(scope="module")
def running() -> Iterator[Site]:
    with running_site() as made:
        yield made


@pytest.fixture
def site(running: Site) -> Site:
    """As new; each test starts runs of its own."""
    running.restore()
    return running


def test_a_worker_that_wakes_after_its_lease_changes_nothing(site: Site) -> None:
    """F8: frozen with the request under way; the other asks a person, since nobody knows, and the first cannot tell."""
    site.upstream.hold("POST", "/effects/once")
    run = site.start("once")
    assert site.upstream.caught.wait(60)
    frozen = site.holder(run)
    os.kill(frozen, signal.SIGSTOP)
    site.upstream.release()
    site.wait_for(run, "unknown")
    os.kill(frozen, signal.SIGCONT)
    # It has the answer in its socket: what happened is known after all, by whichever way it comes to the ledger.
    site.wait_for(run, "pass")
    site.all_is_well()
    assert site.look(run)["tries"][0] == "lost"
    assert site.dead() == []


def test_fifty_repeats_of_every_message_change_nothing(site: Site) -> None:
    """F15, F7: messages come fifty times, before, while and after the step is done, and the last step's come first."""
    site.upstream.hold("POST", "/effects/notify")
    run = site.start("notify")
    assert site.upstream.caught.wait(60)
    site.do("again", run, 50)
    site.upstream.release()
    site.wait(lambda: site.look(run)["state"] == "finished", "it ends")
    site.do("again", run, 50)
    site.wait_for(site.start("notify"), "pass")
    assert site.look(run)["tries"] == ["done"]
    site.all_is_well()


def test_a_database_that_restarts_in_the_middle_loses_nothing(site: Site, running: Site) -> None:
    """F16: PostgreSQL dies (`-m immediate`) while an effect is under way; the same worker stores the result."""
    site.upstream.hold("POST", "/effects/once")
    run = site.start("once")
    assert site.upstream.caught.wait(60)
    holder = site.holder(run)
    with servers.postgres_away(running.folder):
        site.upstream.release()
    found = site.wait_for(run, "pass")
    assert found["tries"] == ["done"]
    assert holder in site.workers
    assert site.dead() == []
    site.all_is_well()

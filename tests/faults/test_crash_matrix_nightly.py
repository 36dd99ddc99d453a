"""The rest of the matrix (promises.md 3): every crash point and class, Redis and PostgreSQL in every bad shape.

Too long for every commit: `python -m pytest -m nightly`. Two workers live; what dies is replaced by the test as by
systemd, and nothing here calls the ticker.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest
import redis

from tests import production, servers
from tests.fakes.effects import KINDS
from tests.faults.site import Site
from tests.faults.site import site as running_site

pytestmark = [pytest.mark.real, pytest.mark.nightly]
# What a step comes to when its worker dies before it sent, or after; `once` is never sent again by itself.
SENT = {"keyed": "pass", "notify": "pass", "probe": "pass", "once": "unknown"}


@pytest.fixture(scope="module")
def running() -> Iterator[Site]:
    with running_site() as made:
        yield made


@pytest.fixture
def site(running: Site) -> Site:
    """As new; each test starts runs of its own."""
    running.restore()
    return running


# --- kill -9 at every point -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("point", "book"),
    [("K1", "look"), ("K5", "look"), *((f"K{number}", kind) for number in range(1, 6) for kind in KINDS)],
)
def test_kill_9_at_every_point(site: Site, point: str, book: str) -> None:
    """F4 to F7; a check has no K2 to K4. K6 (before the broker's ack) is K5: the ack comes before the work."""
    site.arm(point)
    run = site.start(book)
    site.has_died(point)
    expected = SENT[book] if book in SENT and point in ("K3", "K4") else "pass"
    site.wait_for(run, expected)
    tries = site.look(run)["tries"]
    assert tries[0] == ("done" if point == "K5" else "lost")
    site.all_is_well(twice=book == "notify")


def test_kill_9_while_it_waits_to_verify(site: Site) -> None:
    """K7: all workers die in the wait before a verification; the timer is a row."""
    run = site.start("waiting")
    site.wait_for(run, "sleeping", step="settle")
    for pid in list(site.workers):
        site.kill(pid)
    time.sleep(8)
    site.restore()
    site.wait_for(run, "pass", step="settle")
    site.all_is_well()


@pytest.mark.parametrize("point", ["B1", "B2"])
def test_kill_9_around_a_tick(site: Site, point: str) -> None:
    """F23: the process that ticks dies before its round or after it; the other ticks on."""
    run = site.start("waiting")
    site.wait_for(run, "sleeping", step="settle")
    site.arm(point)
    site.has_died(point)
    site.wait_for(run, "pass", step="settle")
    site.all_is_well()


def test_a_step_that_kills_its_worker_each_time_ends_as_an_error(site: Site) -> None:
    """F9: three tries, then the verdict says why; other work flows."""
    run = site.start("poison")
    end = time.monotonic() + 180
    while site.look(run)["steps"]["it"] != "error":
        assert time.monotonic() < end
        for pid in site.dead():
            del site.workers[pid]
        site.restore()
        time.sleep(0.5)
    assert site.look(run)["reasons"]["it"] == "worker_lost"
    assert site.look(run)["tries"] == ["lost"] * 3
    site.restore()
    site.wait_for(site.start("keyed"), "pass")
    site.all_is_well()


@pytest.mark.parametrize("book", [*KINDS])
@pytest.mark.parametrize("after", [False, True])
def test_frozen_past_its_lease(site: Site, book: str, after: bool) -> None:
    """F8: stopped before or after the effect happened; once awake it changes nothing but what is known."""
    site.upstream.hold("POST", f"/effects/{book}", after=after)
    run = site.start(book)
    assert site.upstream.caught.wait(60)
    frozen = site.holder(run)
    os.kill(frozen, signal.SIGSTOP)
    site.upstream.release()
    site.wait_for(run, SENT[book])
    os.kill(frozen, signal.SIGCONT)
    site.wait_for(run, "pass")
    # What it brings once awake may be kept beside what was found without it, as too late.
    assert site.look(run)["tries"][0] in ("lost", "late")
    site.all_is_well(twice=book == "notify")


# --- Redis ------------------------------------------------------------------------------------------------------------
@contextmanager
def misbehaving(site: Site, how: str) -> Iterator[None]:
    """Redis in a bad shape while the block runs."""
    if how == "stopped":
        site.redis.stop()
        yield
        site.redis.start()
    elif how in ("blackhole", "half-open", "refuse"):
        site.broker.mode = how  # type: ignore[assignment]
        if how == "refuse":
            site.broker.cut()
        yield
        site.broker.mode = "pass"
        site.broker.cut()
    else:
        client = redis.Redis.from_url(site.redis.url)
        before = str(client.config_get("maxmemory")["maxmemory"])
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", "1")
        yield
        client.config_set("maxmemory", before)


@pytest.mark.parametrize("how", ["stopped", "blackhole", "half-open", "refuse", "out of memory"])
def test_runs_go_on_without_redis_and_after_it(site: Site, how: str) -> None:
    """F10, F12, F13, F14: work is found in the database; the same processes consume again when Redis is back."""
    before = set(site.workers)
    with misbehaving(site, how):
        first = site.start("keyed")
        site.wait_for(first, "pass")
        idle = site.start("waiting")
        site.wait_for(idle, "sleeping", step="settle")
    site.wait_for(idle, "pass", step="settle")
    site.wait_for(site.start("keyed"), "pass")
    assert (set(site.workers), site.dead()) == (before, [])
    site.all_is_well()


def test_redis_forgets_everything_in_the_middle(site: Site) -> None:
    """F11: FLUSHALL with messages in it; nothing is lost, nothing comes twice."""
    runs = [site.start("keyed") for _ in range(5)]
    redis.Redis.from_url(site.redis.url).flushall()
    for run in runs:
        site.wait_for(run, "pass")
    assert sorted(site.upstream.times.values()) == [1] * 5
    site.all_is_well()


# --- PostgreSQL -------------------------------------------------------------------------------------------------------
def test_a_slow_database_makes_it_slow_and_nothing_else(site: Site) -> None:
    """F18: each answer takes 300 ms, so a step takes many seconds and leases run short; no effect happens twice."""
    site.database.latency = 0.3
    run = site.start("once")
    site.wait(
        lambda: site.look(run)["steps"]["it"] in ("pass", "unknown"), "the effect comes to something", seconds=180
    )
    site.database.latency = 0.0
    site.all_is_well()


@pytest.mark.parametrize("how", ["blackhole", "half-open"])
def test_the_way_to_the_database_is_cut_in_the_middle(site: Site, how: str) -> None:
    """The answer is in, and there is nobody to tell; when the way is open again, it is stored or asked about."""
    site.upstream.hold("POST", "/effects/once", after=True)
    run = site.start("once")
    assert site.upstream.caught.wait(60)
    site.database.mode = how  # type: ignore[assignment]
    site.upstream.release()
    time.sleep(2 * 5)
    site.database.mode = "pass"
    site.database.cut()
    site.wait_for(run, "pass", "unknown")
    site.all_is_well()


def test_a_transaction_that_the_database_refuses_is_tried_again(site: Site) -> None:
    """F19: serialization failures while results are stored: five in a row, then one entry of each kind."""
    with psycopg.connect(site.env["BACKSTOP_DATABASE_URL"], autocommit=True) as database:
        database.execute("CREATE SEQUENCE refusals")
        database.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF nextval('refusals') <= 5 THEN"
            " RAISE EXCEPTION 'could not serialize access' USING ERRCODE = '40001'; END IF; RETURN NEW; END $$"
        )
        database.execute(
            "CREATE TRIGGER refuse BEFORE UPDATE ON runbooks_steprun FOR EACH ROW WHEN (NEW.state = 'settled')"
            " EXECUTE FUNCTION refuse()"
        )
        try:
            run = site.start("once")
            assert site.wait_for(run, "pass")["tries"] == ["done"]
            assert database.execute("SELECT last_value FROM refusals").fetchone()[0] >= 6  # type: ignore[index]
        finally:
            database.execute("DROP TRIGGER refuse ON runbooks_steprun")
            database.execute("DROP FUNCTION refuse; DROP SEQUENCE refusals")
    site.all_is_well()


# --- beat -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("beats", [0, 2])
def test_no_run_depends_on_beat(site: Site, tmp_path: Path, beats: int) -> None:
    """F23: none, or two; timers ring once."""
    with ExitStack() as stack:
        for number in range(beats):
            log = tmp_path / f"beat{number}.log"
            stack.enter_context(production.working("beat", site.env, log=log))
        run = site.start("waiting")
        site.wait_for(run, "pass", step="settle")
    assert site.look(run)["tries"] == ["done"]
    site.all_is_well()


def test_the_database_dies_again_and_again(site: Site, running: Site) -> None:
    """F16: PostgreSQL restarts three times (`-m immediate`) while runs are under way; each effect happens once."""
    runs = [site.start("keyed") for _ in range(5)]
    for _ in range(3):
        with servers.postgres_away(running.folder):
            time.sleep(2)
        time.sleep(3)
    for run in runs:
        site.wait_for(run, "pass")
    site.all_is_well()
    assert site.dead() == []

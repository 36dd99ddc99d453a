"""The journey in its production shape: PostgreSQL, Redis, gunicorn, uvicorn, two workers, beat, as the units start
them. Every worker is killed once while it works and Redis forgets everything; the effect is applied once all the same.
"""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest
import redis

from drills import alerting, world
from drills.server import DrillServer
from tests import production, servers
from tests.fakes import web
from tests.journeys import production_world
from web.operate import demo

pytestmark = [pytest.mark.real, pytest.mark.slow]
LEASE_SECONDS = 4


class Site:
    """A running set-up: its processes, a signed-in person, a program's token, and its database."""

    def __init__(self, folder: Path, stack: ExitStack, connections: str) -> None:
        self.folder, self.stack = folder, stack
        self.pages, self.streams = servers.free_port(), servers.free_port()
        runbooks = folder / "runbooks"
        runbooks.mkdir()
        (runbooks / "production_journey.yaml").write_text(production_world.RUNBOOK)
        settings = {
            "BACKSTOP_BASE_URL": f"http://127.0.0.1:{self.pages}",
            "BACKSTOP_OUTBOUND_ALLOW": connections,
            "BACKSTOP_RUNBOOKS_DIR": str(runbooks),
            "BACKSTOP_LEASE_SECONDS": str(LEASE_SECONDS),
        }
        self.env = stack.enter_context(production.set_up(folder, **settings))
        code = f"from tests.journeys.production_world import arrange; print(arrange('{connections}'))"
        self.doors = json.loads(production.manage(self.env, "shell", "-v0", "-c", code))
        self.database = stack.enter_context(psycopg.connect(self.env["BACKSTOP_DATABASE_URL"], autocommit=True))
        self.workers: dict[int, Any] = {}
        for number in (1, 2):
            self.start_worker(f"worker{number}")
        stack.enter_context(production.working("beat", self.env, log=folder / "beat.log"))
        for unit, port in (("web", self.pages), ("live", self.streams)):
            stack.enter_context(production.serving(unit, self.env, port=port, log=folder / f"{unit}.log"))
        self.program = httpx2.Client(
            base_url=f"http://127.0.0.1:{self.pages}/api/v1/",
            headers={"Authorization": f"Bearer {self.doors['token']}"},
            timeout=60,
        )
        self.person = httpx2.Client(base_url=f"http://127.0.0.1:{self.pages}", follow_redirects=True, timeout=60)

    def start_worker(self, name: str) -> None:
        """A worker, as systemd would start it, also in the place of one that died."""
        log = self.folder / f"{name}.log"
        process = self.stack.enter_context(production.working("worker", self.env, log=log))
        self.workers[process.pid] = process

    def kill_worker(self, name: str) -> None:
        """`kill -9` to the process in a worker's name, and another in its place."""
        pid = int(name.split(":")[1])
        self.workers.pop(pid).send_signal(signal.SIGKILL)
        self.start_worker(f"instead-of-{pid}")

    def holder(self, step: str) -> str:
        """The name of the worker that has the step in hand; empty when none has."""
        found = self.rows("SELECT worker FROM runbooks_steprun WHERE step = %s AND state = 'leased'", step)
        return str(found[0][0]) if found else ""

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Rows of the set-up's database."""
        return self.database.execute(query, values).fetchall()

    def wait_for(self, true: Callable[[], Any], *, seconds: float = 180) -> Any:
        """The first true answer; what the steps have come to, if there is none."""
        end = time.monotonic() + seconds
        while not (found := true()):
            told = self.rows("SELECT step, state, blocked_on, verdict FROM runbooks_steprun ORDER BY position")
            assert time.monotonic() < end, str(told)
            time.sleep(0.2)
        return found

    def get(self, path: str) -> Any:
        """What the API says."""
        answer = self.program.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post_form(self, path: str, **fields: str) -> str:
        """Send a page's form as a browser does, and read where it leads."""
        page = self.person.get(re.sub("/(draft|note)$", "", path)).text
        found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
        assert found, page
        answer = self.person.post(path, data={"csrfmiddlewaretoken": found.group(1), **fields})
        assert answer.status_code == 200, answer.text
        return answer.text


@pytest.fixture
def drill() -> Iterator[DrillServer]:
    """A simulated rag-chat whose new version is worse since twelve minutes."""
    server = world.serve(demo.make_world(), 0)
    demo.break_world(server.world)
    yield server
    server.close()


class Relay:
    """The way to the simulated service; the first metrics of both checks and the change of the flag come back late.

    The service has done by then what it was asked, so a worker killed meanwhile leaves it in doubt.
    """

    def __init__(self, drill: DrillServer) -> None:
        self.drill = drill
        self.late = {"metrics": [6.0, 6.0], "PUT": [6.0]}

    def answer(self, asked: web.Asked) -> web.Reply:
        """Pass a request on and its answer back."""
        is_read = asked.method == "GET"
        passed = httpx2.request(
            asked.method,
            self.drill.url + asked.path,
            params=asked.form if is_read else None,
            content=None if is_read else asked.body,
            timeout=60,
            headers={k: v for k, v in asked.headers.items() if k in ("content-type", "idempotency-key")},
        )
        late = self.late.get("metrics" if asked.path.startswith("/api/v1/query") else asked.method)
        return web.Reply(passed.content, status=passed.status_code, hang=late.pop() if late else 0.0)


@pytest.fixture
def relay(drill: DrillServer) -> Iterator[str]:
    """Its address."""
    with web.serve(Relay(drill).answer) as made:
        yield made.url


@pytest.fixture
def site(tmp_path: Path, relay: str) -> Iterator[Site]:
    """The running set-up."""
    with ExitStack() as stack:
        yield Site(tmp_path, stack, relay)


def next_bump(lines: Iterator[str]) -> int:
    """The version of the next bump on a stream; one that beats four times before it, for most of a minute, has none."""
    beats = 0
    for line in lines:
        # Beats say when, not what.
        if line.startswith("data: ") and "version" in (told := json.loads(line.removeprefix("data: "))):
            return int(told["version"])
        beats += line == "event: beat"
        assert beats < 4, "the stream told of nothing"
    raise AssertionError("the stream ended")


def test_one_effect_although_workers_die_and_redis_forgets(site: Site, drill: DrillServer) -> None:
    changes_before = drill.world.flag_version("chat-model")

    # The alert comes in; the worker that looks at the metrics is killed while it looks.
    labels = {"kind": "production_journey"}
    fired = alerting.fire(drill.world, site.doors["hook"], status="firing", kind="", severity="critical", labels=labels)
    assert fired["status"] == 202
    site.kill_worker(site.wait_for(lambda: site.holder("accuracy_now")))

    # A person opens the link, and a page's stream tells of what happens.
    site.post_form(site.doors["link"])
    [incident] = site.get("incidents")["items"]
    number = incident["number"]
    tell_by_stream(site, number)

    # The run asks; the person approves; Redis forgets everything, and the worker that turns the flag is killed.
    open_requests = "SELECT uuid, digest FROM runbooks_approvalrequest WHERE state = 'open'"
    asked = site.wait_for(lambda: site.rows(open_requests))
    assert drill.world.flag("chat-model") == "v43"
    page = f"/approvals/{asked[0][0]}"
    assert "v42" in site.person.get(page).text
    site.post_form(page, digest=asked[0][1], decision="approve", typed="v42", note="")
    redis.Redis.from_url(site.env["BACKSTOP_REDIS_URL"]).flushall()
    site.kill_worker(site.wait_for(lambda: site.holder("roll_back")))

    def ended() -> Any:
        [run] = site.get("runs")["items"]
        return run if run["state"] not in ("queued", "active", "stopping") else None

    run = site.wait_for(ended)
    assert (run["state"], run["outcome"]) == ("finished", "resolved"), site.get(f"runs/{run['id']}")
    assert drill.world.flag("chat-model") == "v42"
    assert drill.world.flag_version("chat-model") == changes_before + 1
    assert site.rows("SELECT state FROM runbooks_effect") == [("confirmed",)]

    # The timeline tells of both deaths, and the draft of the rollback.
    said = " ".join(entry["text"] for entry in site.get(f"incidents/{number}/timeline?limit=200")["items"])
    assert "after its worker was lost" in said
    assert "v42" in site.post_form(f"/postmortems/{number}/draft")
    assert site.get(f"incidents/{number}")["state"] == "mitigated"
    assert_well(site)


def tell_by_stream(site: Site, number: int) -> None:
    """A note written on one process shows as a bump on a stream of another."""
    address = f"http://127.0.0.1:{site.streams}/live/incident/{number}"
    with site.person.stream("GET", address, timeout=60) as stream:
        lines = stream.iter_lines()
        before = next_bump(lines)
        site.post_form(f"/incidents/{number}/note", text="Looking at it.")
        while next_bump(lines) <= before:
            pass


def assert_well(site: Site) -> None:
    """Both workers tick, nothing waits, and every process is still there."""
    found = json.loads(production.manage(site.env, "doctor", "--json"))["findings"]
    assert [f for f in found if f["level"] == "problem"] == []
    assert len([f for f in found if f["what"] == "worker"]) >= 2
    engine = site.person.get("/healthz/engine")
    assert (engine.status_code, engine.json()["faults"]) == (200, [])
    assert [process.poll() for process in site.workers.values()] == [None, None]

"""F16: while PostgreSQL is gone every door says so and when to try again; when it is back, so are they, untouched."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests import production, servers

pytestmark = [pytest.mark.real, pytest.mark.slow]
ARRANGE = """
import json
from catalog import people
from catalog.models import Team
from incidents import endpoints
admin = people.first_user()
endpoint, token = endpoints.create(source="alertmanager", name="am", team=Team.objects.get(slug="default"))
_, program = people.create_token(admin, name="test", scopes=["*"])
link = f"/login/link/{people.new_login_link(admin)}"
print(json.dumps({"hook": endpoints.path(endpoint, token), "token": program, "link": link}))
"""


class Site:
    """Web and live processes, and who asks them."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        env = stack.enter_context(production.set_up(folder))
        known: dict[str, str] = json.loads(production.manage(env, "shell", "-v0", "-c", ARRANGE))
        self.pages, self.streams = servers.free_port(), servers.free_port()
        for unit, port in (("web", self.pages), ("live", self.streams)):
            stack.enter_context(production.serving(unit, env, port=port, log=folder / f"{unit}.log"))
        base = f"http://127.0.0.1:{self.pages}"
        self.person = stack.enter_context(httpx2.Client(base_url=base, timeout=60))
        page = self.person.get(known["link"]).text
        form = {"csrfmiddlewaretoken": page.split('name="csrfmiddlewaretoken" value="')[1].split('"')[0]}
        assert self.person.post(known["link"], data=form, headers={"Origin": base}).status_code == 302
        bearer = {"Authorization": f"Bearer {known['token']}"}
        self.program = stack.enter_context(httpx2.Client(base_url=base, timeout=60, headers=bearer))
        self.hook = known["hook"]

    def answers(self) -> dict[str, httpx2.Response]:
        """What every kind of door says."""
        alert: dict[str, Any] = {"version": "4", "status": "firing", "alerts": []}
        event = {"routing_key": "x" * 32, "event_action": "trigger"}
        doors: dict[str, Callable[[], httpx2.Response]] = {
            "page": lambda: self.person.get("/incidents"),
            "first page": lambda: self.person.get("/"),
            "version": lambda: self.person.get("/version/home/me"),
            "api": lambda: self.program.get("/api/v1/incidents"),
            "hook": lambda: self.program.post(self.hook, json=alert),
            "pagerduty": lambda: self.program.post("/v2/enqueue", json=event),
            "ready": lambda: self.program.get("/readyz"),
            "stream": self.stream,
        }
        # At once: each waits for a connection first.
        with ThreadPoolExecutor(len(doors)) as pool:
            asked = {name: pool.submit(ask) for name, ask in doors.items()}
        return {name: answer.result() for name, answer in asked.items()}

    def stream(self) -> httpx2.Response:
        """The head of a live stream, which does not end by itself."""
        with self.person.stream("GET", f"http://127.0.0.1:{self.streams}/live/home/me") as answer:
            return answer


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A running set-up."""
    with ExitStack() as stack:
        yield Site(tmp_path, stack)


def test_every_door_says_when_to_try_again_and_is_back_with_the_database(site: Site, tmp_path: Path) -> None:
    well = {name: answer.status_code for name, answer in site.answers().items()}
    assert (well["page"], well["api"], well["hook"], well["stream"]) == (200, 200, 202, 200)
    with servers.postgres_away(tmp_path):
        for _ in range(2):
            answers = site.answers()
            assert {name: answer.status_code for name, answer in answers.items()} == dict.fromkeys(well, 503)
            assert all(int(answer.headers["Retry-After"]) > 0 for answer in answers.values())
            assert production.status(site.pages, "/healthz") == 200
    servers.wait_until(lambda: site.program.get("/readyz").status_code == 200, seconds=120)
    assert {name: answer.status_code for name, answer in site.answers().items()} == well

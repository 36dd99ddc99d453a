"""The world's endpoints, asked over loopback."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from drills.server import DrillServer
from drills.world import serve
from tests.factories_evaluations import START, make_world


@pytest.fixture(scope="module")
def drill() -> Iterator[DrillServer]:
    running = serve(make_world("model_regression")[0], 0)
    yield running
    running.close()


def ask(url: str, body: object = None, method: str = "GET", **headers: str) -> tuple[int, str]:
    content = None if body is None else (body.encode() if isinstance(body, str) else json.dumps(body).encode())
    request = urllib.request.Request(url, data=content, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_it_answers_queries_as_prometheus_does(drill: DrillServer) -> None:
    status, text = ask(f"{drill.url}/api/v1/query?query={quote('sum(up)')}")
    found = json.loads(text)

    assert status == 200
    assert found == {
        "status": "success",
        "data": {"resultType": "vector", "result": [{"metric": {}, "value": [START, "1"]}]},
    }


def test_it_answers_ranges_by_post(drill: DrillServer) -> None:
    form = urlencode({"query": "up", "start": START - 60, "end": START, "step": "15s"})
    status, text = ask(
        f"{drill.url}/api/v1/query_range", form, "POST", **{"Content-Type": "application/x-www-form-urlencoded"}
    )

    assert status == 200
    assert len(json.loads(text)["data"]["result"][0]["values"]) == 5


@pytest.mark.parametrize(
    "path",
    [
        "query?query=sum(",
        "query?query=up&time=noon",
        "query_range?query=up&start=0&end=10&step=0",
        "query_range?query=up&start=0&end=100000&step=1",
    ],
)
def test_it_refuses_bad_queries_as_prometheus_does(drill: DrillServer, path: str) -> None:
    status, text = ask(f"{drill.url}/api/v1/{path}")

    assert status == 400
    assert json.loads(text)["errorType"] == "bad_data"


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("/-/ready", "Ready"),
        ("/metrics", "# TYPE ml_requests_total counter"),
        ("/eval", '"item": "rc-0900"'),
        ("/logs", '"query_type"'),
        ("/registry", '"serving": "v43"'),
        ("/flags", '"chat-model": "v43"'),
        ("/flags/chat-model", '"value": "v43"'),
        ("/changes", "Deploy rag-chat v43"),
        ("/status/api/v2/summary.json", '"indicator"'),
        ("/admin/clock", '"minute": 0.0'),
    ],
)
def test_it_answers_at_every_address(drill: DrillServer, path: str, part: str) -> None:
    status, text = ask(drill.url + path)

    assert status == 200
    assert part in text


def test_it_answers_items_and_refuses_unknown_ones(drill: DrillServer) -> None:
    url = f"{drill.url}/v1/predict"

    assert ask(url, {"version": "v42", "item": "rc-0001", "input": "?"}, "POST")[0] == 200
    assert ask(url, {"version": "v99", "item": "rc-0001"}, "POST")[0] == 404
    assert ask(url, "[]", "POST")[0] == 400


def test_it_sets_flags_by_compare_and_set() -> None:
    running = serve(make_world()[0], 0)
    url = f"{running.url}/flags/chat-model"
    try:
        assert ask(url, {"value": "v42", "expect": "v43"}, "PUT", **{"Idempotency-Key": "a"})[0] == 200
        assert ask(url, {"value": "v42", "expect": "v43"}, "PUT", **{"Idempotency-Key": "a"})[0] == 200
        assert ask(url, {"value": "v41", "expect": "v43"}, "PUT")[0] == 409
        assert ask(f"{running.url}/admin/reset", {}, "POST")[0] == 200
        assert '"v43"' in ask(url)[1]
    finally:
        running.close()


def test_it_fires_an_alert_at_a_hook(drill: DrillServer) -> None:
    heard: list[dict[str, Any]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(202)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    hook = HTTPServer(("127.0.0.1", 0), Hook)
    thread = threading.Thread(target=hook.serve_forever, daemon=True)
    thread.start()
    for status in ("firing", "resolved"):
        ask(f"{drill.url}/admin/fire", {"url": f"http://127.0.0.1:{hook.server_port}/", "status": status}, "POST")
    hook.shutdown()
    hook.server_close()

    assert [body["status"] for body in heard] == ["firing", "resolved"]
    assert {body["alerts"][0]["labels"]["kind"] for body in heard} == {"accuracy_drop"}
    assert len({body["alerts"][0]["fingerprint"] for body in heard}) == 1

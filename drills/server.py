"""The world over HTTP on loopback: metrics, Prometheus' query API, logs, model, flags, registry, status page, levers.

GET  /metrics  /-/ready  /logs?since=&until=&limit=  /eval  /registry  /flags  /flags/<name>  /changes
GET  /status/api/v2/summary.json  /admin/clock
GET and POST  /api/v1/query  /api/v1/query_range
POST /v1/predict {"version", "item", "input"}            -> {"answer"}
PUT  /flags/<name> {"value", "expect"}                   Idempotency-Key; 409 when it is not what was expected
POST /admin/fault {"cause", "size", "at"}                minutes from now, may be negative; cause "none" ends faults
POST /admin/clock {"speed"}   /admin/reset   /admin/fire {"url", "status", "kind", "severity", "labels"}
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Callable
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from drills import alerting, answers
from drills.promql import BadQuery
from drills.scenario import FLAGS, SERVICE, Refused

if TYPE_CHECKING:
    from drills.world import World

log = logging.getLogger(__name__)
_LARGEST_BODY = 1 << 20


class DrillServer(ThreadingHTTPServer):
    """A listening server of one world, with a thread per request."""

    daemon_threads = True

    def __init__(self, world: World, host: str, port: int) -> None:
        self.world = world
        super().__init__((host, port), _Requests)
        self.port: int = self.server_address[1]
        self.url = f"http://{host}:{self.port}"
        self._running = [
            threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.1}, name="drill", daemon=True),
            threading.Thread(target=world.warm_up, name="drill-warm-up", daemon=True),
        ]

    def start(self) -> None:
        """Answer from now on; the history is filled meanwhile."""
        for thread in self._running:
            thread.start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news; anything else is logged with its trace."""
        error = sys.exception()
        if isinstance(error, ConnectionError):
            log.debug("%s hung up", client_address)
        else:
            log.error("a request of %s failed", client_address, exc_info=error)

    def close(self) -> None:
        """Stop listening and wait for the threads."""
        self.shutdown()
        self.server_close()
        for thread in self._running:
            thread.join(5)


def start(world: World, host: str, port: int) -> DrillServer:
    """Serve in the background."""
    running = DrillServer(world, host, port)
    running.start()
    return running


class _Requests(BaseHTTPRequestHandler):
    server: DrillServer
    protocol_version = "HTTP/1.1"
    server_version = "rag-chat-drill"
    timeout = 30

    def do_GET(self) -> None:
        self.route(_GET)

    def do_POST(self) -> None:
        self.route(_POST)

    def do_PUT(self) -> None:
        self.route(_PUT)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the name is http.server's
        log.debug(format, *args)

    def route(self, table: dict[str, Callable[[World, _Call], _Reply]]) -> None:
        """Find the address in the table; `/flags/chat-model` is looked up as `/flags/*`."""
        parts = urlsplit(self.path)
        head, _, name = parts.path.rpartition("/")
        try:
            call = _Call(self, parts.query, unquote(name))
            answer = table.get(parts.path) or table.get(f"{head}/*")
            if answer is None:
                raise Refused(404, f"There is nothing at {parts.path} for {self.command}.")
            reply = answer(self.server.world, call)
        except Refused as error:
            reply = _json({"error": str(error), **error.extra}, status=error.status)
        except BadQuery as error:
            reply = _bad_data(str(error))
        except (ValueError, TypeError, KeyError) as error:
            reply = _json({"error": f"The request cannot be understood: {error}"}, status=400)
        body = reply.body.encode()
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Call:
    """What was asked: fields of the query string or form, the JSON body, headers and the last part of the path."""

    def __init__(self, request: BaseHTTPRequestHandler, query: str, name: str) -> None:
        self.name = name
        self.headers = request.headers
        length = int(request.headers.get("Content-Length") or 0)
        if not 0 <= length <= _LARGEST_BODY:
            request.close_connection = True
            raise Refused(413, "The body is larger than 1 MiB.")
        self._body = request.rfile.read(length) if length else b""
        self.fields = {key: values[-1] for key, values in parse_qs(query, keep_blank_values=True).items()}
        if "x-www-form-urlencoded" in (request.headers.get("Content-Type") or ""):
            self.fields |= {k: v[-1] for k, v in parse_qs(self._body.decode(), keep_blank_values=True).items()}

    def json(self) -> dict[str, Any]:
        """The JSON object that was sent; empty without a body. Refused 400 for anything else."""
        try:
            found = json.loads(self._body or b"{}")
        except ValueError as error:
            raise Refused(400, f"The body is not JSON: {error}.") from None
        if not isinstance(found, dict):
            raise Refused(400, "The body must be a JSON object.")
        return found


class _Reply:
    def __init__(self, body: str, status: int = 200, content_type: str = "application/json") -> None:
        self.body, self.status, self.content_type = body, status, content_type


def _json(value: object, status: int = 200) -> _Reply:
    return _Reply(json.dumps(value), status)


def _bad_data(why: str) -> _Reply:
    return _json({"status": "error", "errorType": "bad_data", "error": why}, status=400)


def _moment(call: _Call, name: str, default: float | None = None) -> float:
    """A time parameter: Unix seconds or RFC 3339. BadQuery otherwise, as Prometheus."""
    text = call.fields.get(name, "")
    if not text and default is not None:
        return default
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise BadQuery(f'invalid parameter "{name}": cannot parse "{text}" to a valid timestamp') from None


def _query(world: World, call: _Call) -> _Reply:
    at = _moment(call, "time", world.now())
    return _json(answers.instant(world.instant(call.fields.get("query", ""), at), at))


def _query_range(world: World, call: _Call) -> _Reply:
    begin, end = _moment(call, "start"), _moment(call, "end")
    step = answers.step_of(call.fields.get("step", ""))
    answers.check_range(begin, end, step)
    return _json(answers.matrix(world.range(call.fields.get("query", ""), begin, end, step)))


def _metrics(world: World, call: _Call) -> _Reply:
    return _Reply(answers.exposition(world.everything()), content_type="text/plain; version=0.0.4; charset=utf-8")


def _logs(world: World, call: _Call) -> _Reply:
    now = world.now()
    since, until = _moment(call, "since", now - 600), min(_moment(call, "until", now), now)
    limit = min(int(call.fields.get("limit", "6000")), 6000)
    return _Reply(answers.logs(world, since, until, limit), content_type="application/x-ndjson")


def _predict(world: World, call: _Call) -> _Reply:
    asked = call.json()
    return _json({"answer": world.predict(str(asked.get("version", "")), str(asked.get("item", "")))})


def _flag(world: World, call: _Call) -> _Reply:
    return _json({"name": call.name, "value": world.flag(call.name), "version": world.flag_version(call.name)})


def _flags(world: World, call: _Call) -> _Reply:
    return _json({"service": SERVICE, "flags": {name: world.flag(name) for name in FLAGS}})


def _set_flag(world: World, call: _Call) -> _Reply:
    asked = call.json()
    expect = asked.get("expect")
    given = world.set_flag(
        call.name,
        str(asked.get("value", "")),
        expect=None if expect is None else str(expect),
        key=call.headers.get("Idempotency-Key") or "",
    )
    return _json(
        {
            "name": given.name,
            "value": given.value,
            "before": given.before,
            "changed": given.changed,
            "version": given.version,
        }
    )


def _fault(world: World, call: _Call) -> _Reply:
    asked = call.json()
    fault = world.inject(str(asked.get("cause", "")), float(asked.get("size", 1.0)), float(asked.get("at", 0.0)))
    return _json({"cause": fault.cause, "size": fault.size, "minute": fault.onset} if fault else {"cause": "none"})


def _clock(world: World, call: _Call) -> _Reply:
    now = world.now()
    return _json({"now": now, "start": world.time.start, "minute": world.time.minute(now), "speed": world.time.speed})


def _set_clock(world: World, call: _Call) -> _Reply:
    world.set_speed(float(call.json().get("speed", 1.0)))
    return _clock(world, call)


def _reset(world: World, call: _Call) -> _Reply:
    world.reset()
    return _json({"cause": world.cause, "size": world.size, "seed": world.seed})


def _fire(world: World, call: _Call) -> _Reply:
    asked = call.json()
    answer = alerting.fire(
        world,
        str(asked.get("url", "")),
        status=str(asked.get("status", "firing")),
        kind=str(asked.get("kind", "")),
        severity=str(asked.get("severity", "critical")),
        labels={str(key): str(value) for key, value in dict(asked.get("labels") or {}).items()},
    )
    return _json(answer, status=200 if answer["status"] else 502)


_GET: dict[str, Callable[[World, _Call], _Reply]] = {
    "/metrics": _metrics,
    "/-/ready": lambda world, call: _Reply("Ready.\n", content_type="text/plain"),
    "/api/v1/query": _query,
    "/api/v1/query_range": _query_range,
    "/api/v1/status/buildinfo": lambda world, call: _json({"status": "success", "data": {"version": "drill"}}),
    "/logs": _logs,
    "/eval": lambda world, call: _Reply(world.evaluation_items(), content_type="application/x-ndjson"),
    "/registry": lambda world, call: _json(world.registry()),
    "/flags": _flags,
    "/flags/*": _flag,
    "/changes": lambda world, call: _json({"changes": world.changes()}),
    "/status/api/v2/summary.json": lambda world, call: _json(answers.status_page(world.page(), world.now())),
    "/admin/clock": _clock,
}
_POST: dict[str, Callable[[World, _Call], _Reply]] = {
    "/api/v1/query": _query,
    "/api/v1/query_range": _query_range,
    "/v1/predict": _predict,
    "/admin/fault": _fault,
    "/admin/clock": _set_clock,
    "/admin/reset": _reset,
    "/admin/fire": _fire,
}
_PUT: dict[str, Callable[[World, _Call], _Reply]] = {"/flags/*": _set_flag}

"""The doors for alerts: store what came, answer 202, and let a worker read it later.

Nothing here parses a body but the PagerDuty door, whose API promises its callers an answer about their event. Beside
401, 405, 413 and 415 only that door answers 4xx, because many senders never try a 4xx again.
"""

from __future__ import annotations

import os

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from prometheus_client import Counter

from catalog.permissions import Permission
from common.background import enqueue
from common.faults import crashpoint
from common.secrets import fingerprint
from incidents import bodies, endpoints, intake
from incidents.models import Delivery, Endpoint
from incidents.sources import pagerduty_events, words
from runbooks import tasks
from web import problems
from web.policy import allow

# config/limits.py and nginx refuse more before Django is asked; this is the same limit for whoever goes round them.
MAX_BYTES = 5 * 1024 * 1024
# In memory, because a stranger shall cost no write; by process, because a scrape is answered by one of several.
STRANGERS = Counter(
    "backstop_deliveries_unknown", "Requests to the alert doors without a known token.", ["process"], registry=None
)
_TOKEN_WORDS = {"token", "key", "secret", "routing_key", "apikey", "api_key", "auth"}


@csrf_exempt
@allow(Permission.ANYONE)
def hook(request: HttpRequest, source: str, token: str = "") -> HttpResponse:
    """`POST /hooks/<source>/<token>`: 202 with the delivery's id once it is committed."""
    if request.method != "POST":
        return _only_post(request)
    if not token or _TOKEN_WORDS & {word.lower() for word in request.GET}:
        hint = "The token belongs into the path, /hooks/<source>/<token>: a query ends up in the logs of proxies."
        strangers_here().inc()
        return _unauthorized(request, hint)
    try:
        endpoint = endpoints.by_token(source, token)
    except endpoints.UnknownEndpoint as error:
        _count_refused(token)
        return _unauthorized(request, error.fix)
    body = _body(request, endpoint)
    if isinstance(body, HttpResponse):
        return body
    headers = _headers(request)
    endpoints.check_signature(endpoint, headers=headers, body=body)
    crashpoint("W1")
    delivery, duplicate = intake.accept(endpoint, body=body, headers=headers, content_type=_kind(request))
    crashpoint("W3")
    return _accepted(delivery, duplicate=duplicate)


@csrf_exempt
@allow(Permission.ANYONE)
def pagerduty(request: HttpRequest) -> HttpResponse:
    """`POST /v2/enqueue`: as PagerDuty's Events API v2; the routing key is the token of an endpoint."""
    if request.method != "POST":
        return _only_post(request)
    body = _body(request, None)
    if isinstance(body, HttpResponse):
        return body
    try:
        event, _ = bodies.read_json(body)
    except bodies.Unparsed as fault:
        return _invalid_event([str(fault)])
    faults = pagerduty_events.validate(event)
    key = words.text(words.fields(event).get("routing_key"))
    try:
        endpoint = endpoints.by_token(pagerduty_events.PagerDutyEvents.name, key)
    except endpoints.UnknownEndpoint:
        _count_refused(key)
        return _invalid_event(faults or ["'routing_key' is not known here"])
    headers = _headers(request)
    dedup_key = words.text(event.get("dedup_key")) or pagerduty_events.new_key()
    headers[pagerduty_events.KEY_HEADER] = dedup_key
    crashpoint("W1")
    delivery, duplicate = intake.accept(endpoint, body=body, headers=headers, content_type=_kind(request))
    crashpoint("W3")
    if faults:
        # Kept all the same, so that a person can see what the sender does wrong; reading it will reject it.
        return _invalid_event(faults, wake_for=None if duplicate else delivery.pk)
    # A retry is told the key that its first delivery got, not the one made for this answer.
    known = str(delivery.headers.get(pagerduty_events.KEY_HEADER) or dedup_key)
    answer: dict[str, object] = {"status": "success", "message": "Event processed", "dedup_key": known}
    return Stored(answer, wake_for=None if duplicate else delivery.pk)


class Stored(JsonResponse):
    """The answer about a stored delivery. When it has gone out, a worker gets a hint; a lost hint costs a second."""

    def __init__(self, told: dict[str, object], *, wake_for: int | None, status: int = 202) -> None:
        super().__init__(told, status=status)
        self.wake_for = wake_for

    def close(self) -> None:
        """Called when the answer is complete; gunicorn has sent it by then, config/bridge.py is about to."""
        if self.wake_for is not None:
            enqueue(tasks.receive, "engine", self.wake_for)
            self.wake_for = None
        super().close()


def _accepted(delivery: Delivery, *, duplicate: bool) -> HttpResponse:
    told: dict[str, object] = {"delivery": str(delivery.uuid)}
    if duplicate:
        told["duplicate"] = True
    return Stored(told, wake_for=None if duplicate else delivery.pk)


def _body(request: HttpRequest, endpoint: Endpoint | None) -> bytes | HttpResponse:
    """The bytes as they came, or the refusal; refusals are counted, because such a sender does not try again."""
    if request.headers.get("Content-Encoding", "identity").lower() not in ("", "identity"):
        if endpoint is not None:
            endpoints.count_refused(endpoint)
        return problems.answer(
            request,
            status=415,
            code="encoding",
            sentence="Compressed bodies are not taken.",
            fix="Switch compression off in the sender.",
        )
    declared = request.META.get("CONTENT_LENGTH") or "0"
    size = int(declared) if str(declared).isdigit() else 0
    body = request.read(MAX_BYTES + 1) if size <= MAX_BYTES else b""
    if size > MAX_BYTES or len(body) > MAX_BYTES:
        if endpoint is not None:
            endpoints.count_refused(endpoint)
        return problems.answer(
            request,
            status=413,
            code="too_large",
            sentence="The body is larger than 5 MiB.",
            fix="Let the sender put fewer alerts into one message.",
        )
    return body


def _headers(request: HttpRequest) -> dict[str, str]:
    return {name.lower(): value for name, value in request.headers.items()}


def _kind(request: HttpRequest) -> str:
    return str(request.META.get("CONTENT_TYPE") or "")


def strangers_here() -> Counter:
    """The count of this process; it is there, and zero, before the first stranger comes."""
    return STRANGERS.labels(str(os.getpid()))


def _count_refused(token: str) -> None:
    """Show on a switched-off endpoint's page that somebody still sends to it; others are strangers."""
    off = Endpoint.objects.filter(token_sha256=fingerprint(token), enabled=False).first()
    if off is not None:
        endpoints.count_refused(off)
    else:
        strangers_here().inc()


def _only_post(request: HttpRequest) -> HttpResponse:
    response = problems.answer(
        request,
        status=405,
        code="method",
        sentence="Alerts are posted here.",
        fix="Send the alert by POST; the page Alert endpoints has a snippet and a test button.",
    )
    response["Allow"] = "POST"
    return response


def _unauthorized(request: HttpRequest, fix: str) -> HttpResponse:
    return problems.answer(request, status=401, code="unauthorized", sentence="This address takes no alerts.", fix=fix)


def _invalid_event(faults: list[str], *, wake_for: int | None = None) -> HttpResponse:
    told: dict[str, object] = {"status": "invalid event", "message": "Event object is invalid", "errors": faults}
    return Stored(told, wake_for=wake_for, status=400)

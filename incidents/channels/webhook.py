"""Messages as JSON to a web address; Slack's and Teams' incoming webhooks get the shape that they ask for."""

from __future__ import annotations

import base64
from typing import Any, ClassVar
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from common import http
from common.errors import Invalid
from incidents.channels.base import Channel, Note, Undelivered

_REAL = {"json": "http", "jsons": "https", "http": "http", "https": "https"}
# Answers after which the same message cannot get through later either.
_PERMANENT = {400, 401, 403, 405, 410, 411, 413, 414, 415, 422}
_SLACK = ("hooks.slack.com", "hooks.slack-gov.com")
_TEAMS = (".logic.azure.com", ".webhook.office.com", ".powerplatform.com")


class WebhookChannel(Channel):
    """A POST of `{"subject", "body", "link", "key"}` to your own program.

    Address: `https://host/path` or `jsons://host/path`; `json://` and `http://` without TLS. Name and password before
    the host are sent as HTTP Basic authentication. Any 2xx answer means delivered. The same `key` may come twice if we
    were interrupted after sending: take the second as a repeat. Addresses of Slack and Teams webhooks are recognised.
    """

    name: ClassVar[str] = "webhook"
    title: ClassVar[str] = "Webhook"
    schemes: ClassVar[frozenset[str]] = frozenset(_REAL)

    def check(self, url: str) -> str:
        """Scheme and host: paths of webhooks are secrets."""
        parts = _split(url)
        return f"{_REAL[parts.scheme]}://{parts.netloc.rpartition('@')[2]}/…"

    def send(self, url: str, note: Note) -> None:
        """POST once."""
        parts = _split(url)
        headers = {"Content-Type": "application/json", "Idempotency-Key": note.key.encode("ascii", "replace").decode()}
        if parts.username:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        target = urlunsplit((_REAL[parts.scheme], parts.netloc.rpartition("@")[2], parts.path or "/", parts.query, ""))
        try:
            answer = http.request("POST", target, headers=headers, json=_payload(parts.hostname or "", note))
        except http.HttpError as error:
            # A blocked address stays blocked until the operator opens it; a day of tries would only hide that.
            never = error.reason in ("blocked", "bad_url")
            raise Undelivered(f"The web address did not take it: {error.sentence}", permanent=never) from error
        if not 200 <= answer.status < 300:
            raise Undelivered(f"The web address answered {answer.status}.", permanent=answer.status in _PERMANENT)


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Invalid("This is not a web address.", fix="Write it as https://host/path.") from None
    if parts.scheme not in _REAL or not parts.hostname or port == 0:
        raise Invalid("A web address needs a host.", fix="Write it as https://host/path.")
    return parts


def _payload(host: str, note: Note) -> dict[str, Any]:
    if host in _SLACK:
        # Slack reads these three characters as its own markup (mentions of everybody, links).
        words = f"{note.subject}\n{note.body}\n".replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        return {"text": words + note.link}
    if host.endswith(_TEAMS):
        texts = [
            {"type": "TextBlock", "text": note.subject, "weight": "Bolder", "wrap": True},
            {"type": "TextBlock", "text": note.body, "wrap": True},
        ]
        card: dict[str, Any] = {"type": "AdaptiveCard", "version": "1.5", "body": texts}
        if note.link:
            card["actions"] = [{"type": "Action.OpenUrl", "title": "Open", "url": note.link}]
        kind = "application/vnd.microsoft.card.adaptive"
        return {"type": "message", "attachments": [{"contentType": kind, "content": card}]}
    return {"subject": note.subject, "body": note.body, "link": note.link, "key": note.key}

"""Encryption at rest, and the redactor that keeps secrets out of logs, timelines and evidence."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import re
import secrets
import threading
import traceback
from collections.abc import Iterator, MutableMapping
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import quote

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings

from common.errors import Unavailable

MASK = "[secret]"
# A text shorter than this cannot be masked safely, so it is not taken as a secret.
SHORTEST = 8
_remembering = threading.Lock()
# Shapes of secrets that turn up in alert texts, headers and error messages.
_PATTERNS = [
    re.compile(r"(?i)(bearer\s+)[a-z0-9._~+/=-]{8,}"),
    re.compile(
        r"(?i)((?:password|passwd|secret|token|api[_-]?key|routing_key|shared_secret)[\"']?\s*[=:]\s*[\"']?)[^\s\"'&,;}]{4,}"
    ),
    re.compile(r"(://[^/\s:@]{1,80}:)[^@/\s]{1,200}(?=@)"),
    # Our own addresses that are secrets.
    re.compile(r"(/hooks/[\w.-]{1,40}/|/login/link/)[A-Za-z0-9_-]{16,}"),
    re.compile(r"()\bsk-[A-Za-z0-9_-]{16,}"),
    re.compile(r"()\bbs_[a-z0-9]{8}_[A-Za-z0-9_-]{20,}"),
]
SECRET_HEADERS = {"authorization", "cookie", "proxy-authorization", "x-api-key", "x-webhook-token"}

Json = TypeVar("Json")


@lru_cache(maxsize=4)
def _box(keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet(
        [Fernet(base64.urlsafe_b64encode(hashlib.sha256(f"backstop:{key}".encode()).digest())) for key in keys]
    )


def encrypt(clear: bytes) -> bytes:
    """Encrypt for storage with the newest key."""
    return _box(tuple(settings.SECRET_KEYS)).encrypt(clear)


def decrypt(stored: bytes | memoryview) -> bytes:
    """Decrypt with any current key; Unavailable when the key that wrote it is gone."""
    try:
        return _box(tuple(settings.SECRET_KEYS)).decrypt(bytes(stored))
    except InvalidToken:
        raise Unavailable(
            "A stored secret cannot be read with the current keys.",
            fix="Put the older key back into BACKSTOP_SECRET_KEYS, after the newest one.",
        ) from None


def new_token(length: int = 32) -> str:
    """An unguessable URL-safe token."""
    return secrets.token_urlsafe(length)


def fingerprint(token: str) -> str:
    """What is stored of a token: its SHA-256. Tokens are random, so no salt is needed."""
    # What is no token may hold a lone surrogate; it has to be unknown, not an error.
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def forms(secret: str) -> list[str]:
    """A secret as it may turn up: plain, base64 (also inside a longer text), URL-encoded, JSON-escaped.

    None for a short one, which cannot be masked without masking half of the world.
    """
    if len(secret) < SHORTEST:
        return []
    found = {secret, quote(secret, safe=""), quote(secret), json.dumps(secret)[1:-1], *_base64_forms(secret.encode())}
    return sorted(found, key=len, reverse=True)


def _base64_forms(secret: bytes) -> Iterator[str]:
    """What of its base64 is the same whatever stands around it, as in `user:secret`: one form for each offset."""
    for offset in range(3):
        encoded = base64.b64encode(bytes(offset) + secret).rstrip(b"=").decode()
        # The first characters hold bits of what comes before, the last may hold bits of what comes after.
        core = encoded[(0, 2, 3)[offset] : len(encoded) if (offset + len(secret)) % 3 == 0 else -1]
        yield core
        yield core.translate(str.maketrans("+/", "-_"))


# The secrets that this process has decrypted for use, the latest last, each in the forms in which it may turn up; and
# all those forms, the longest first, because one secret may be the beginning of another.
_in_use: dict[str, list[str]] = {}
_forms_in_use: list[str] = []
# More than one process uses at a time; without a bound, a process that lives for months would look for ever more.
_MOST_IN_USE = 500


def remember(values: object) -> None:
    """From now on every text in `values` is masked wherever `redact` looks: secrets that were just decrypted."""
    if isinstance(values, dict | list):
        for value in values.values() if isinstance(values, dict) else values:
            remember(value)
    elif isinstance(values, str):
        with _remembering:
            _remember(values)


def _remember(secret: str) -> None:
    # Replaced as a whole, so that whoever redacts meanwhile reads one list.
    global _forms_in_use
    known = _in_use.pop(secret, None)
    # `Bearer …`: the other side may repeat the second word alone.
    _in_use[secret] = known or [form for part in {secret, secret.rpartition(" ")[2]} for form in forms(part)]
    if known is not None:
        return
    while len(_in_use) > _MOST_IN_USE:
        del _in_use[next(iter(_in_use))]
    _forms_in_use = sorted({form for some in _in_use.values() for form in some}, key=len, reverse=True)


def keyed_digests(content: bytes) -> list[str]:
    """HMACs of something secret, by each current key, the newest first: they tell equal from changed, and no more."""
    return [
        hmac.new(f"backstop-digest:{key}".encode(), content, hashlib.sha256).hexdigest() for key in settings.SECRET_KEYS
    ]


def redact(text: str, known: tuple[str, ...] = ()) -> str:
    """Mask known secrets and those in use, in every form, and whatever looks like one."""
    for form in (*(form for secret in known for form in forms(secret)), *_forms_in_use):
        text = text.replace(form, MASK)
    for pattern in _PATTERNS:
        text = pattern.sub(lambda m: m.group(1) + MASK, text)
    return text


def redact_json(value: Json, known: tuple[str, ...] = ()) -> Json:
    """The same for every string inside a JSON value; keys are redacted too."""
    if isinstance(value, str):
        return redact(value, known)  # type: ignore[return-value]
    if isinstance(value, list):
        return [redact_json(item, known) for item in value]  # type: ignore[return-value]
    if isinstance(value, dict):
        return {redact(str(key), known): redact_json(item, known) for key, item in value.items()}  # type: ignore[return-value]
    return value


class RedactingFilter(logging.Filter):
    """Masks what looks like a secret in every log line; control characters cannot forge a line."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Always lets the record through, cleaned."""
        # Django's handlers of errors add it: an object whose text is the address once more.
        record.__dict__.pop("request", None)
        message = record.getMessage()
        cleaned = redact(message)
        if cleaned != message:
            record.msg, record.args = cleaned, ()
        return True


def redact_event(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A step of structlog: the whole line as it is about to be written, tracebacks and extra fields too."""
    raised = event.pop("exc_info", None)
    if isinstance(raised, tuple):
        event["exception"] = "".join(traceback.format_exception(*raised)).rstrip()
    return redact_json(dict(event))

"""Encryption at rest, and the redactor that keeps secrets out of logs, timelines and evidence."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import re
import secrets
from functools import lru_cache
from typing import TypeVar
from urllib.parse import quote

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings

from common.errors import Unavailable

MASK = "[secret]"
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
    """A secret as it may turn up: plain, base64, URL-encoded, JSON-escaped. Short ones cannot be masked safely."""
    if len(secret) < 8:
        return []
    encoded = base64.b64encode(secret.encode()).decode().rstrip("=")
    return sorted({secret, encoded, quote(secret, safe=""), json.dumps(secret)[1:-1]}, key=len, reverse=True)


# Every secret that this process has decrypted for use, as it may turn up in answers and errors of the other side.
_in_use: dict[str, list[str]] = {}


def remember(values: object) -> None:
    """From now on every text in `values` is masked wherever `redact` looks: secrets of a connection just opened."""
    if isinstance(values, dict | list):
        for value in values.values() if isinstance(values, dict) else values:
            remember(value)
    elif isinstance(values, str) and values not in _in_use:
        # `Bearer …`: the other side may repeat the second word alone.
        _in_use[values] = [form for part in {values, values.rpartition(" ")[2]} for form in forms(part)]


def redact(text: str, known: tuple[str, ...] = ()) -> str:
    """Mask known secrets and those in use, in every form, and whatever looks like one."""
    for all_forms in (*map(forms, known), *list(_in_use.values())):
        for form in all_forms:
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

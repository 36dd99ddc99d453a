"""Signatures of senders that can sign: HMAC-SHA256 over the bytes as they came, never over parsed JSON.

Everything is compared as bytes: a header may hold any byte, and comparing texts that are not ASCII raises.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from common.errors import Invalid

Scheme = Literal["github", "grafana", "standard-webhooks"]
# How far a sender's clock may be off; an older signature may be a replay (Standard Webhooks names the same number).
WINDOW_SECONDS = 300
_PREFIX = "whsec_"
# Shorter ones can be guessed from a single signed message.
_SHORTEST = 16


def new_secret(scheme: Scheme) -> str:
    """A secret of the form that the scheme's senders take."""
    if scheme == "standard-webhooks":
        return _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()
    return secrets.token_urlsafe(32)


def check_secret(scheme: Scheme, secret: str) -> None:
    """Refuse a secret that the scheme cannot use. Raises Invalid, which never names the secret."""
    fields = {"secret": "cannot be used"}
    if not secret.isascii() or not secret.isprintable() or not _SHORTEST <= len(secret) <= 200:
        raise Invalid("A signing secret has 16 to 200 printable ASCII characters.", fields=fields)
    if scheme == "standard-webhooks" and len(_key(scheme, secret) or b"") < _SHORTEST:
        raise Invalid(
            "A secret of Standard Webhooks is whsec_ and at least 16 bytes in base64.",
            fix="Copy it from the sender as it is, or leave the field empty to have one made.",
            fields=fields,
        )


def fault(scheme: Scheme, *, secret: str, headers: Mapping[str, str], body: bytes, now: datetime) -> str:
    """Why the signature of a request is not accepted, as a sentence; empty when it is right.

    `headers` have lower-case names. One matching signature of several is enough: senders send two while they rotate.
    """
    key = _key(scheme, secret)
    if key is None:
        return "The endpoint's secret cannot be used."
    stamp: str | None = None
    if scheme == "github":
        given = [headers.get("x-hub-signature-256", "").removeprefix("sha256=")]
        signed = body
    elif scheme == "grafana":
        given = [headers.get("x-grafana-alerting-signature", "")]
        # Only where the contact point names a header for the time; what is signed differs, so nobody can leave it out.
        stamp = headers.get("x-grafana-alerting-timestamp")
        signed = body if stamp is None else _bytes(stamp) + b":" + body
    else:
        parts = (part.partition(",") for part in headers.get("webhook-signature", "").split(" "))
        given = [value for version, _, value in parts if version == "v1"]
        stamp = headers.get("webhook-timestamp", "")
        signed = b".".join((_bytes(headers.get("webhook-id", "")), _bytes(stamp), body))
    if not any(given):
        return "The signature is missing."
    if stamp is not None and not _is_fresh(stamp, now):
        return f"The signature is stale: its time is more than {WINDOW_SECONDS // 60} minutes off, or no time at all."
    digest = hmac.digest(key, signed, "sha256")
    wanted = base64.b64encode(digest) if scheme == "standard-webhooks" else digest.hex().encode()
    # Every one is compared, so that the time taken does not tell which of them matched.
    matching = [hmac.compare_digest(_bytes(one), wanted) for one in given]
    return "" if any(matching) else "The signature does not match the body."


def _key(scheme: Scheme, secret: str) -> bytes | None:
    if scheme != "standard-webhooks":
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(_PREFIX), validate=True) if secret.startswith(_PREFIX) else None
    except binascii.Error:
        return None


def _is_fresh(stamp: str, now: datetime) -> bool:
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 12):
        return False
    return abs(int(stamp) - now.timestamp()) <= WINDOW_SECONDS


def _bytes(text: str) -> bytes:
    # Header texts are latin-1 by the rules of WSGI, so these are the bytes that came.
    return text.encode("latin-1", "replace")

"""Signatures: the recorded vectors, and what nobody may get past (promises I3, I4, I6)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest

from catalog.models import Team
from common.errors import Invalid
from incidents import endpoints, signatures
from incidents.signatures import Scheme
from tests.factories import make_actor
from tests.factories_intake import make_endpoint

VECTORS: list[dict[str, Any]] = [
    vector
    for vector in json.loads((Path(__file__).parent / "payloads/signatures--hmac.json").read_text())["vectors"]
    if vector["scheme"] in get_args(Scheme)
]
NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
BODY = '{"title": "tëst",  "n": 1.0}'.encode()
SECRET = "a-secret-that-is-long-enough"


def sign(text: bytes, secret: str = SECRET) -> str:
    """What a sender would send."""
    return hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()


def fault(headers: dict[str, str], scheme: Scheme = "github", body: bytes = BODY) -> str:
    """What is wrong with a request."""
    return signatures.fault(scheme, secret=SECRET, headers=headers, body=body, now=NOW)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: f"{vector['scheme']}: {vector['why']}")
def test_it_judges_the_recorded_vectors(vector: dict[str, Any]) -> None:
    found = signatures.fault(
        vector["scheme"],
        secret=vector["secret"],
        headers={name.lower(): value for name, value in vector["headers"].items()},
        body=vector["body"].encode(),
        now=datetime.fromtimestamp(vector["now"], UTC),
    )
    assert (found == "") == (vector["expect"] == "valid"), found


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("", "missing"),
        ("sha256=", "missing"),
        (f"sha256={sign(BODY)[:-1]}", "does not match"),
        (f"sha256={sign(BODY).upper()}", "does not match"),
        (f"sha256={sign(BODY, 'another-secret-of-theirs')}", "does not match"),
        (f"sha1={sign(BODY)}", "does not match"),
        ("sha256=ä\udcff\x00", "does not match"),
    ],
)
def test_it_refuses_every_other_signature(given: str, says: str) -> None:
    assert says in fault({"x-hub-signature-256": given})


def test_it_signs_bytes_and_not_what_they_mean() -> None:
    headers = {"x-hub-signature-256": f"sha256={sign(BODY)}"}
    assert fault(headers) == ""
    assert "does not match" in fault(headers, body=json.dumps(json.loads(BODY)).encode())


@pytest.mark.parametrize(
    ("seconds", "is_fresh"), [(0, True), (-300, True), (300, True), (-301, False), (301, False), (-360, False)]
)
def test_it_takes_five_minutes_either_way(seconds: int, *, is_fresh: bool) -> None:
    stamp = str(int(NOW.timestamp()) + seconds)
    headers = {
        "x-grafana-alerting-signature": sign(stamp.encode() + b":" + BODY),
        "x-grafana-alerting-timestamp": stamp,
    }
    assert (fault(headers, "grafana") == "") is is_fresh
    assert is_fresh or "stale" in fault(headers, "grafana")


@pytest.mark.parametrize("stamp", ["", "soon", "1e9", "-1", "٣٣٣", "9" * 5000, "1795165200.5"])
def test_a_time_that_is_none_is_stale(stamp: str) -> None:
    text = stamp.encode() + b":" + BODY
    headers = {"x-grafana-alerting-signature": sign(text), "x-grafana-alerting-timestamp": stamp}
    assert "stale" in fault(headers, "grafana")


def test_a_time_that_was_signed_cannot_be_left_out() -> None:
    stamp = str(int(NOW.timestamp()))
    assert "does not match" in fault({"x-grafana-alerting-signature": sign(stamp.encode() + b":" + BODY)}, "grafana")


@pytest.mark.parametrize("scheme", get_args(Scheme))
def test_a_secret_made_here_is_one_that_can_be_used(scheme: Scheme) -> None:
    secret = signatures.new_secret(scheme)
    signatures.check_secret(scheme, secret)
    assert secret != signatures.new_secret(scheme)


@pytest.mark.parametrize(
    ("source", "secret"),
    [
        ("github", "short"),
        ("github", "with-an-umläut-in-it"),
        ("github", "x" * 201),
        ("generic", "no-prefix-but-long-enough"),
        ("generic", "whsec_not/base64!!!!!!!"),
        ("generic", "whsec_" + base64.b64encode(b"short").decode()),
        ("alertmanager", ""),
        ("pagerduty-events", ""),
    ],
)
def test_it_refuses_secrets_that_could_not_work(team: Team, source: str, secret: str) -> None:
    with pytest.raises(Invalid) as caught:
        endpoints.require_signature(make_endpoint(team, source), secret=secret, actor=make_actor(team))
    assert not secret or secret not in str(caught.value.extra) + caught.value.sentence


def test_it_keeps_the_secret_encrypted_until_it_is_dropped(team: Team) -> None:
    endpoint, actor = make_endpoint(team, "github"), make_actor(team)
    endpoints.require_signature(endpoint, secret=SECRET, actor=actor)
    endpoint.refresh_from_db()
    assert SECRET.encode() not in bytes(endpoint.signing_secret_encrypted)
    assert endpoints.signing_secret(endpoint) == SECRET
    endpoints.drop_signature(endpoint, actor=actor)
    endpoints.check_signature(endpoint, headers={}, body=b"")

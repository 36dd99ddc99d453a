"""The way out, against the attacks S1 to S12."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from common import http
from common.http import HttpError
from tests.fakes.web import Asked, Reply, serve, serve_raw, unused_url


def reason(url: str, **fields: Any) -> str:
    """Why a GET of the address is refused."""
    with pytest.raises(HttpError) as caught:
        http.request("GET", url, **{"timeout": 2.0, **fields})
    return caught.value.reason


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[list[str]]]:
    """The outer world's name server: each lookup of a name takes the next list of addresses."""
    known: dict[str, list[list[str]]] = {}
    real = socket.getaddrinfo

    def answer(host: str, port: int, *args: Any, **kwargs: Any) -> Any:
        turns = known.get(host.rstrip("."))
        if turns is None or kwargs.get("flags", 0) & socket.AI_NUMERICHOST:
            return real(host, port, *args, **kwargs)
        addresses = turns.pop(0) if len(turns) > 1 else turns[0]
        return [row for address in addresses for row in real(address, port, type=socket.SOCK_STREAM)]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    return known


def test_it_sends_and_reads_json() -> None:
    with serve(lambda asked: Reply(json.dumps({"got": json.loads(asked.body)}).encode())) as web:
        answer = http.request("POST", web.url + "/a", json={"k": "é"}, params={"q": "a b"}, headers={"X-Key": "1"})
    assert (answer.status, answer.json()) == (200, {"got": {"k": "é"}})
    asked = web.asked[0]
    assert (asked.form, asked.headers["x-key"], asked.headers["accept-encoding"]) == ({"q": "a b"}, "1", "identity")


@pytest.mark.parametrize(
    "url",
    [
        "https://169.254.169.254/latest/meta-data",
        "https://[fd00:ec2::254]/",
        "https://metadata.google.internal/",
        "https://100.100.100.200/",
        "https://[::ffff:169.254.169.254]/",
        "https://[64:ff9b::a9fe:a9fe]/",
    ],
)
def test_it_never_opens_metadata_addresses(url: str) -> None:
    http.allow(url)
    try:
        assert reason(url) == "blocked"
    finally:
        http.forget(url)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "0", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "a.localhost."]
)
def test_it_blocks_every_spelling_of_loopback(host: str) -> None:
    assert reason(f"https://{host}/") in ("blocked", "bad_url")


def test_it_refuses_letters_that_only_look_like_digits() -> None:
    assert reason("https://①②⑦.⓪.⓪.①/") == "bad_url"


@pytest.mark.parametrize(
    "host",
    [
        "[::ffff:10.0.0.1]",
        "[64:ff9b::a00:1]",
        "[2002:a9fe:a9fe::]",
        "[2002:0808:0808::1]",
        "[::169.254.169.254]",
        "[2001:0:4136:e378:8000:63bf:3fff:fdd2]",
        "[fec0::1]",
        "[fe80::1]",
        "[fd12::1]",
        "[ff02::1]",
        "[::]",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "192.168.1.1",
        "198.18.0.1",
    ],
)
def test_it_blocks_special_and_wrapped_addresses(host: str) -> None:
    assert reason(f"https://{host}/") == "blocked"


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_it_lets_public_addresses_through(address: str) -> None:
    assert not http.is_denied(address)


def test_it_refuses_a_name_with_one_bad_record(names: dict[str, list[list[str]]]) -> None:
    names["mixed.test"] = [["93.184.215.14", "10.0.0.1"]]
    assert reason("https://mixed.test/") == "blocked"


def test_it_connects_to_the_checked_address_only(names: dict[str, list[list[str]]]) -> None:
    # The name flips to another address after the check; the connection must not ask again.
    with serve(lambda asked: Reply()) as web:
        port = web.url.rsplit(":", 1)[1]
        names["flip.test"] = [["127.0.0.1"], ["127.0.0.9"]]
        http.allow(f"http://flip.test:{port}")
        assert http.request("GET", f"http://flip.test:{port}/").status == 200
        assert web.asked[0].headers["host"] == f"flip.test:{port}"
        http.forget(f"http://flip.test:{port}")


def test_it_follows_no_redirect() -> None:
    with serve(lambda asked: Reply(status=302, headers={"Location": "http://127.0.0.1/"})) as web:
        assert http.request("GET", web.url + "/").status == 302
    assert len(web.asked) == 1


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "gopher://a.test/",
        "ftp://a.test/",
        "http://ok.test/\\@127.0.0.1/",
        "https://127.0.0.1#@ok.test/",
        "https://[::1]ok.test/",
        "https://ok.test/a\tb",
        "https://ok.test/\r\nFLUSHALL",
        "https://user:pass@ok.test/",
        "https://ok.test:0/",
        "https://ok.test:99999/",
        "https:///x",
        "https://a..b.test/ x",
        "//ok.test/",
        "",
    ],
)
def test_it_refuses_strange_addresses(url: str) -> None:
    assert reason(url) == "bad_url"


@pytest.mark.parametrize("url", ["http://example.com/", "https://example.com:22/", "https://example.com:6379/"])
def test_it_opens_only_https_on_443_without_an_entry(url: str) -> None:
    assert reason(url) == "blocked"


def test_it_opens_exactly_what_an_entry_says(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(lambda asked: Reply()) as web:
        http.forget(web.url)
        assert reason(web.url + "/") == "blocked"
        monkeypatch.setattr(settings.BACKSTOP, "outbound_allow", ["nonsense", web.url])
        assert http.request("GET", web.url + "/").status == 200


def test_it_does_not_call_itself(settings: Any) -> None:
    http.allow(settings.BASE_URL)
    assert reason(settings.BASE_URL + "/healthz") == "blocked"
    http.forget(settings.BASE_URL)


@pytest.mark.parametrize("headers", [{"Host": "x"}, {"X": "a\r\nb"}, {"Bad name": "x"}, {"Cookie": "a=b"}])
def test_it_refuses_headers_that_change_the_request(headers: dict[str, str]) -> None:
    assert reason("https://ok.test/", headers=headers) == "bad_url"


def test_it_stops_at_the_byte_limit() -> None:
    with serve(lambda asked: Reply(b"x" * 5000)) as web:
        assert reason(web.url, max_bytes=4096) == "too_large"
        assert len(http.request("GET", web.url, max_bytes=5000).body) == 5000


def test_it_does_not_unpack() -> None:
    with serve(lambda asked: Reply(b"\x1f\x8b", headers={"Content-Encoding": "gzip"})) as web:
        assert reason(web.url) == "bad_answer"


def test_it_keeps_no_cookies() -> None:
    with serve(lambda asked: Reply(headers={"Set-Cookie": "a=b"})) as web:
        assert "set-cookie" not in http.request("GET", web.url).headers
        http.request("GET", web.url)
    assert "cookie" not in web.asked[1].headers


def _drip(peer: socket.socket) -> None:
    peer.recv(1000)
    peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(300):
        peer.sendall(b"x")
        time.sleep(0.1)


def _endless(peer: socket.socket) -> None:
    peer.recv(1000)
    peer.sendall(b"HTTP/1.1 200 OK\r\n")
    for number in range(20_000):
        peer.sendall(b"X-%d: %s\r\n" % (number, b"x" * 100))


def _nonsense(peer: socket.socket) -> None:
    peer.recv(1000)
    peer.sendall(b"SSH-2.0-nonsense\r\n\r\n")


def _hang_up(peer: socket.socket) -> None:
    peer.recv(1000)


@pytest.mark.parametrize(
    ("talk", "expected", "seconds"),
    [(_drip, "timeout", 0.6), (_endless, "bad_answer", 8), (_nonsense, "bad_answer", 8), (_hang_up, "bad_answer", 8)],
)
def test_it_survives_bad_servers(talk: Callable[[socket.socket], None], expected: str, seconds: float) -> None:
    with serve_raw(talk) as url:
        before = time.monotonic()
        assert reason(url, timeout=seconds) == expected
        # The whole drip would take half a minute.
        assert time.monotonic() - before < seconds + 10


def test_it_knows_whether_anything_was_sent() -> None:
    url = unused_url()
    http.allow(url)
    with pytest.raises(HttpError) as refused:
        http.request("PUT", url)
    http.forget(url)
    assert (refused.value.reason, refused.value.sent) == ("unreachable", False)
    with serve(lambda asked: Reply(hang=3)) as web, pytest.raises(HttpError) as late:
        http.request("PUT", web.url, timeout=0.3)
    assert (late.value.reason, late.value.sent) == ("timeout", True)


def test_it_ignores_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with serve(lambda asked: Reply()) as web:
        assert http.request("GET", web.url).status == 200


def test_it_reads_json_only() -> None:
    with serve(lambda asked: Reply(b"<html>")) as web:
        answer = http.request("GET", web.url)
    with pytest.raises(HttpError, match="is not JSON"):
        answer.json()


def _certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for localhost; gives the files of certificate and key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "cert.pem", folder / "key.pem"


def test_it_verifies_certificates_and_takes_a_private_authority(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = _certificate(tmp_path)
    with serve(lambda asked: Reply(), tls=(certificate, key)) as web:
        assert reason(web.url) == "tls"
        assert web.asked == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert http.request("GET", web.url).status == 200
        # The certificate names localhost, not the number.
        number = web.url.replace("localhost", "127.0.0.1")
        http.allow(number)
        assert reason(number) == "tls"
        http.forget(number)


def test_it_joins_repeated_headers() -> None:
    def answer(asked: Asked) -> Reply:
        return Reply(headers={"X-One": "a", "x-one": "b"})

    with serve(answer) as web:
        assert http.request("GET", web.url).headers["x-one"] == "a, b"

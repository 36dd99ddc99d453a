"""The only way out: one HTTP request to an address that was checked first, within one deadline and one byte limit.

Every request resolves its host anew, refuses the whole answer when any record is private or special, and connects to
the very address that was checked, so a name that changes between check and connect (DNS rebinding) changes nothing.
There are no redirects, cookies, proxies or `.netrc` because the connection is made here, by httpx2's own core, and not
by a client that knows of them. Private addresses, plain http and odd ports open only by an exact `scheme://host:port`
entry of BACKSTOP_OUTBOUND_ALLOW or of `allow`; addresses that hand out cloud credentials never open.
"""

from __future__ import annotations

import ipaddress
import json as _json
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import httpcore2
import httpx2
from django.conf import settings

_URL = re.compile(r"(https?)://(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::([0-9]{1,5}))?([/?][!-~]*)?")
_METHOD = re.compile(r"[A-Z]{1,20}")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
# Set by us alone: a caller that could set them could smuggle a second request or another host.
_OWN_HEADERS = {"host", "connection", "content-length", "transfer-encoding", "accept-encoding", "cookie"}
_PORTS = {"http": 80, "https": 443}

# Names and addresses that hand out credentials of the machine: AWS, GCP, Azure, Alibaba, Oracle, ECS and EKS agents.
_METADATA_NAMES = {
    "metadata",
    "metadata.google.internal",
    "metadata.goog",
    "instance-data",
    "instance-data.ec2.internal",
}
_METADATA = [
    ipaddress.ip_network(net)
    for net in ("169.254.0.0/16", "100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32", "fd00:ec2::/32")
]
# IANA's special-purpose registries and what the standard library's `is_global` lets through.
_SPECIAL_V4 = (
    "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 "
    "192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/3"
)
_DENIED_V4 = [ipaddress.IPv4Network(net) for net in _SPECIAL_V4.split()]
# Only 2000::/3 is handed out to the public; these parts of it are not.
_PUBLIC_V6 = ipaddress.IPv6Network("2000::/3")
_DENIED_V6 = [
    ipaddress.IPv6Network(net) for net in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "2620:4f:8000::/48")
]
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_COMPATIBLE = ipaddress.IPv6Network("::/96")

_allowed: set[str] = set()
_lock = threading.Lock()


class HttpError(Exception):
    """The request gave no usable answer.

    `reason`: blocked, timeout, unreachable, too_large, bad_url, tls, bad_answer. `sentence` is for people. `sent` says
    whether a byte of the request may have left: False means that it surely changed nothing over there.
    """

    def __init__(self, reason: str, sentence: str, *, sent: bool = False) -> None:
        super().__init__(sentence)
        self.reason = reason
        self.sentence = sentence
        self.sent = sent


@dataclass(frozen=True)
class Answer:
    """What came back, of any status. Header names are lower-case; repeated headers are joined by commas."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as UTF-8, with wrong bytes replaced."""
        return self.body.decode("utf-8", "replace")

    def json(self) -> Any:
        """The body as JSON; HttpError `bad_answer` when it is none (also when nested beyond what Python reads)."""
        try:
            return _json.loads(self.body)
        except (ValueError, RecursionError):
            start = " ".join(self.text[:80].split())
            raise HttpError(
                "bad_answer", f"The answer (status {self.status}) is not JSON: {start!r}.", sent=True
            ) from None


@dataclass(frozen=True)
class Target:
    """A URL taken apart by the one strict parser."""

    scheme: str
    host: str
    port: int
    rest: str

    @property
    def origin(self) -> str:
        """`scheme://host:port`, the form of allow-list entries."""
        return f"{self.scheme}://{self.host}:{self.port}"


@dataclass
class _Exchange:
    """The state of one request: how long it may still take, and whether it has begun to leave."""

    until: float
    sent: bool = False
    addresses: list[str] = field(default_factory=list)

    def left(self) -> float:
        """Seconds left of the deadline; a timeout when none are."""
        left = self.until - time.monotonic()
        if left <= 0:
            raise httpcore2.ReadTimeout("deadline")
        return left


def parse(url: str) -> Target:
    """Take a URL apart, or HttpError `bad_url`: no user info, fragment, backslash, blank or control character."""
    if len(url) > 8192:
        raise HttpError("bad_url", "The address is longer than 8192 characters.")
    match = _URL.fullmatch(url)
    if match is None or "#" in url or "\\" in url:
        raise HttpError(
            "bad_url",
            "The address is not usable: write https://host/path, without user name, fragment, blanks, backslashes or "
            "characters outside ASCII.",
        )
    scheme, host, port, rest = match.groups()
    number = int(port) if port else _PORTS[scheme]
    if not 0 < number < 65536:
        raise HttpError("bad_url", f"Port {number} does not exist.")
    host = host.lower()
    # The library that sends must read the same host and port as we do.
    try:
        other = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise HttpError("bad_url", f"The address is not usable: {error}.") from None
    if other.host != host.strip("[]") or (other.port or _PORTS[scheme]) != number or other.userinfo:
        raise HttpError("bad_url", "The address can be read in two ways.")
    return Target(scheme, host, number, rest or "/")


def allow(entry: str) -> None:
    """Open one exact `scheme://host:port` for this process (the demo's simulated service)."""
    origin = parse(entry).origin
    with _lock:
        _allowed.add(origin)


def forget(entry: str) -> None:
    """Take back an entry of `allow`."""
    with _lock:
        _allowed.discard(parse(entry).origin)


def is_allowed(origin: str) -> bool:
    """Whether an exact entry opens this origin."""
    if origin in _allowed:
        return True
    return any(_same(entry, origin) for entry in settings.BACKSTOP.outbound_allow)


def _same(entry: str, origin: str) -> bool:
    try:
        return parse(entry).origin == origin
    except HttpError:
        # A wrong entry opens nothing; `doctor` names it.
        return False


def is_metadata(address: str) -> bool:
    """Whether an address, or one hidden inside it, hands out credentials: never opened by anything."""
    ip = ipaddress.ip_address(address)
    return any(part in net for part in [ip, *_inside(ip)] for net in _METADATA if part.version == net.version)


def is_denied(address: str) -> bool:
    """Whether an address is anything but a public host."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv4Address):
        return any(ip in net for net in _DENIED_V4)
    if ip.ipv4_mapped is not None:
        return is_denied(str(ip.ipv4_mapped))
    if ip in _NAT64:
        # A network with DNS64 reaches public IPv4 hosts this way, so the hidden address decides.
        return is_denied(str(_low32(ip)))
    return ip not in _PUBLIC_V6 or any(ip in net for net in _DENIED_V6)


def _inside(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> Iterator[ipaddress.IPv4Address]:
    """Every IPv4 address that an IPv6 form carries along: mapped, compatible, NAT64, 6to4, Teredo."""
    if isinstance(ip, ipaddress.IPv4Address):
        return
    if ip.ipv4_mapped is not None:
        yield ip.ipv4_mapped
    if ip in _NAT64 or ip in _COMPATIBLE:
        yield _low32(ip)
    if ip.sixtofour is not None:
        yield ip.sixtofour
    if ip.teredo is not None:
        yield from ip.teredo


def _low32(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)


def request(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    params: Mapping[str, str] | Iterable[tuple[str, str]] | None = None,
    json: Any = None,
    content: bytes | str | None = None,
    timeout: float = 10.0,
    max_bytes: int = 1 << 20,
) -> Answer:
    """Send one request and read its whole answer within `timeout` seconds, name lookup included.

    Any status is an Answer, 3xx too. Raises HttpError.
    """
    target = parse(url)
    exchange = _Exchange(time.monotonic() + timeout)
    outgoing = _build(method, target, headers, params, json, content)
    is_open = _policy(target)
    try:
        exchange.addresses = _resolve(target, is_open, exchange)
        return _send(outgoing, target, exchange, max_bytes)
    except httpcore2.TimeoutException:
        raise HttpError(
            "timeout", f"{_place(target)} did not answer within {timeout:g} s.", sent=exchange.sent
        ) from None
    except httpcore2.NetworkError as error:
        broken = _tls_fault(error)
        if broken:
            raise HttpError("tls", f"The certificate of {_place(target)} is not accepted: {broken}.") from None
        how = "broke off the connection" if exchange.sent else "cannot be reached"
        raise HttpError("unreachable", f"{_place(target)} {how} ({_cause(error)}).", sent=exchange.sent) from None
    except httpcore2.LocalProtocolError:
        raise HttpError("bad_url", "The request holds characters that HTTP does not allow.") from None
    except httpcore2.ProtocolError as error:
        raise HttpError("bad_answer", f"{_place(target)} does not speak HTTP properly ({error}).", sent=True) from None


def _place(target: Target) -> str:
    """The host as shown to people; never the path or query, which may hold secrets."""
    standard = target.port == _PORTS[target.scheme]
    return target.host if standard else f"{target.host}:{target.port}"


def _policy(target: Target) -> bool:
    """Whether an entry opens this origin; HttpError `blocked` when it needs one."""
    own = _same(settings.BASE_URL, target.origin)
    if own:
        raise HttpError("blocked", f"{_place(target)} is Backstop's own address; it does not call itself.")
    if target.host.strip(".") in _METADATA_NAMES:
        raise HttpError("blocked", f"blocked address: {target.host} hands out the machine's credentials.")
    if is_allowed(target.origin):
        return True
    if target.scheme != "https" or target.port != 443:
        raise HttpError(
            "blocked",
            f"blocked address: only https on port 443 is open. To allow {target.origin}, add exactly that to "
            "BACKSTOP_OUTBOUND_ALLOW.",
        )
    return False


def _build(
    method: str,
    target: Target,
    headers: Mapping[str, str] | None,
    params: Mapping[str, str] | Iterable[tuple[str, str]] | None,
    json: Any,
    content: bytes | str | None,
) -> httpx2.Request:
    if not _METHOD.fullmatch(method):
        raise HttpError("bad_url", f"{method!r} is not an HTTP method.")
    sent = {"User-Agent": "Backstop", "Accept": "*/*"}
    for name, value in (headers or {}).items():
        if not _HEADER_NAME.fullmatch(name) or name.lower() in _OWN_HEADERS:
            raise HttpError("bad_url", f"The header {name[:100]!r} may not be set.")
        if any(ord(char) < 32 or ord(char) > 126 for char in value):
            raise HttpError("bad_url", f"The header {name} holds a character that headers may not hold.")
        sent = {key: kept for key, kept in sent.items() if key.lower() != name.lower()} | {name: value}
    address = httpx2.URL(target.origin + target.rest)
    if params is not None:
        address = address.copy_merge_params(dict(params) if isinstance(params, Mapping) else list(params))
    # Identity only: a compressed answer could unpack to more than we can hold.
    sent |= {"Accept-Encoding": "identity", "Connection": "close"}
    try:
        return httpx2.Request(method, address, headers=sent, json=json, content=content)
    except (TypeError, ValueError) as error:
        raise HttpError("bad_url", f"The request body cannot be written as JSON: {error}.") from None


def _resolve(target: Target, is_open: bool, exchange: _Exchange) -> list[str]:
    """The addresses to connect to, all checked; one bad record refuses the whole lookup."""
    found = _lookup(target, is_open, exchange)
    for address in found:
        if is_metadata(address):
            raise HttpError("blocked", f"blocked address: {target.host} is {address}, which may never be called.")
        if not is_open and is_denied(address):
            raise HttpError(
                "blocked",
                f"blocked address: {target.host} is {address}, which is not a public address. To allow it, add exactly "
                f"{target.origin} to BACKSTOP_OUTBOUND_ALLOW.",
            )
    return found


def _lookup(target: Target, is_open: bool, exchange: _Exchange) -> list[str]:
    host = target.host.strip("[]")
    try:
        # The resolver takes 0x7f000001, 0177.0.0.1 and 127.1 for numbers; whatever it makes of them is checked.
        return _addresses(host, target.port, socket.AI_NUMERICHOST)
    except OSError:
        pass
    local = host.rstrip(".")
    if local == "localhost" or local.endswith(".localhost"):
        return ["127.0.0.1", "::1"]
    # A trailing dot keeps the search domains of this machine out, except where the operator named the host himself.
    name = host if is_open or host.endswith(".") else host + "."
    answers: list[list[str]] = []
    errors: list[OSError] = []

    def ask() -> None:
        try:
            answers.append(_addresses(name, target.port, 0))
        except (OSError, UnicodeError) as error:
            errors.append(error if isinstance(error, OSError) else OSError(str(error)))

    # The system's resolver has no deadline of its own, so it waits in a thread that may be left behind.
    thread = threading.Thread(target=ask, daemon=True, name="name-lookup")
    thread.start()
    thread.join(exchange.left())
    if thread.is_alive():
        raise HttpError("timeout", f"The name {host} was not resolved in time.")
    if errors or not answers or not answers[0]:
        raise HttpError("unreachable", f"The name {host} cannot be resolved.")
    return answers[0]


def _addresses(host: str, port: int, flags: int) -> list[str]:
    rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return list(dict.fromkeys(str(row[4][0]).partition("%")[0] for row in rows))


class _Backend(httpcore2.NetworkBackend):
    """Connects to the checked addresses only, whatever name it is asked for."""

    def __init__(self, exchange: _Exchange) -> None:
        self._exchange = exchange
        self._inner = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        """Try each checked address in turn; `host` is only what the certificate must name."""
        addresses = self._exchange.addresses
        for index, address in enumerate(addresses):
            last = index == len(addresses) - 1
            # A dead first record must leave time for the second.
            share = self._exchange.left() / (1 if last else 2)
            try:
                return _Stream(self._inner.connect_tcp(address, port, timeout=share), self._exchange)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                if last:
                    raise
        raise httpcore2.ConnectError("no address")


class _Stream(httpcore2.NetworkStream):
    """A connection whose every read and write ends by the one deadline."""

    def __init__(self, inner: httpcore2.NetworkStream, exchange: _Exchange) -> None:
        self._inner = inner
        self._exchange = exchange

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read what is there."""
        return self._inner.read(max_bytes, self._exchange.left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write; from here on the other side may have acted."""
        left = self._exchange.left()
        self._exchange.sent = True
        self._inner.write(buffer, left)

    def close(self) -> None:
        """Close the socket."""
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        """Shake hands under the name that was asked for."""
        return _Stream(
            self._inner.start_tls(ssl_context, server_hostname=server_hostname, timeout=self._exchange.left()),
            self._exchange,
        )

    def get_extra_info(self, info: str) -> Any:
        """What the socket knows."""
        return self._inner.get_extra_info(info)


def _send(outgoing: httpx2.Request, target: Target, exchange: _Exchange, max_bytes: int) -> Answer:
    pool = httpcore2.ConnectionPool(
        ssl_context=_trust(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")),
        max_connections=1,
        network_backend=_Backend(exchange),
    )
    address = httpcore2.URL(
        scheme=outgoing.url.raw_scheme, host=outgoing.url.raw_host, port=target.port, target=outgoing.url.raw_path
    )
    body = bytearray()
    with (
        pool,
        pool.stream(outgoing.method, address, headers=outgoing.headers.raw, content=outgoing.read()) as incoming,
    ):
        headers = _headers(incoming.headers)
        if headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
            raise HttpError("bad_answer", f"{_place(target)} compresses although asked not to.", sent=True)
        for chunk in incoming.iter_stream():
            body += chunk
            if len(body) > max_bytes:
                raise HttpError(
                    "too_large", f"The answer of {_place(target)} is larger than {max_bytes >> 10} KiB.", sent=True
                )
        return Answer(incoming.status, headers, bytes(body))


def _headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in raw:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        # Cookies are dropped here, so that nothing can keep them by accident.
        if key != "set-cookie":
            found[key] = f"{found[key]}, {text}" if key in found else text
    return found


@lru_cache(maxsize=4)
def _trust(cafile: str | None, capath: str | None) -> ssl.SSLContext:
    """Who is believed: the system's authorities, or the operator's own file (SSL_CERT_FILE). Costly, so kept."""
    return httpx2.create_ssl_context()


def _tls_fault(error: BaseException) -> str:
    """What is wrong with the certificate or handshake, if that is what it was."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            return seen.verify_message
        if isinstance(seen, ssl.SSLError):
            return seen.reason or "the handshake failed"
        seen = seen.__cause__ or seen.__context__
    return ""


def _cause(error: BaseException) -> str:
    root = error.__cause__ or error.__context__ or error
    text = root.strerror if isinstance(root, OSError) and root.strerror else str(root)
    return text or type(root).__name__

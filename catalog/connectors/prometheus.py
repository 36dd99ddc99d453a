"""Prometheus, and what speaks its query API: Thanos, Mimir, VictoriaMetrics."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import urlencode

from pydantic import Field, SecretStr, model_validator

from catalog.connectors.base import (
    Address,
    Config,
    Connector,
    ConnectorError,
    Health,
    Secrets,
    failed,
    refusal,
    retry_after,
)
from common import http

# The server refuses more points than this for one series (Prometheus: web/api/v1).
MAX_POINTS = 11_000
# Longer questions go as a form: some proxies cut addresses at 2 KiB.
_LONGEST_GET = 1800
_MAX_BYTES = 8 << 20


class PrometheusConfig(Config):
    """Where it is, which tenant of it (Mimir's X-Scope-OrgID), and how often it scrapes, in seconds.

    `dashboard_url` is a Grafana dashboard on the same data: charts link to it, at their window, where their service
    names none.
    Events are counted in steps of at least four scrapes, as by Grafana's `$__rate_interval`: `increase()` over fewer
    sees little or nothing of what happened.
    """

    url: Address
    org_id: str = Field("", max_length=150, pattern=r"^[!-~]*$")
    scrape_seconds: int = Field(15, ge=1, le=300)
    dashboard_url: str = Field("", max_length=500, pattern=r"^(https?://\S+)?$")


class PrometheusSecrets(Secrets):
    """A bearer token, or a user name with its password, or nothing."""

    bearer: SecretStr = SecretStr("")
    username: str = ""
    password: SecretStr = SecretStr("")

    @model_validator(mode="after")
    def _one_way(self) -> PrometheusSecrets:
        if self.bearer.get_secret_value() and self.username:
            raise ValueError("give a bearer token or a user name, not both")
        return self


@dataclass(frozen=True)
class Sample:
    """One series' value at one time; NaN and the infinities are kept as such."""

    labels: dict[str, str]
    at: datetime
    value: float


@dataclass(frozen=True)
class Series:
    """One series over a window, oldest first: (unix seconds, value)."""

    labels: dict[str, str]
    points: list[tuple[float, float]]

    @property
    def name(self) -> str:
        """The labels in one line, without the metric's name."""
        shown = [f"{key}={value}" for key, value in sorted(self.labels.items()) if key != "__name__"]
        return ", ".join(shown) or self.labels.get("__name__", "value")


@dataclass(frozen=True)
class Instant:
    """The answer to an instant query."""

    samples: list[Sample]
    warnings: list[str] = field(default_factory=list)

    @property
    def state(self) -> str:
        """`empty` (no series at all), `not_a_number` (NaN or infinite anywhere), else `ok`."""
        if not self.samples:
            return "empty"
        return "ok" if all(math.isfinite(sample.value) for sample in self.samples) else "not_a_number"


@dataclass(frozen=True)
class Range:
    """The answer to a range query; `step` in seconds, `expected` is how many points a whole series would have."""

    series: list[Series]
    step: float
    expected: int
    warnings: list[str] = field(default_factory=list)


class Prometheus(Connector[PrometheusConfig, PrometheusSecrets]):
    """Prometheus or anything that answers its HTTP query API (Thanos, Mimir, VictoriaMetrics).

    Give the address without `/api/v1`. Behind a login give a bearer token, or a user name and password. Mimir tenants
    go into `org_id`. An address inside your network must be named in BACKSTOP_OUTBOUND_ALLOW, exactly as
    `scheme://host:port`. Backstop only ever asks; it never writes.
    """

    name: ClassVar[str] = "prometheus"
    title: ClassVar[str] = "Prometheus"
    example: ClassVar[dict[str, Any]] = {"url": "https://prometheus.example.com"}
    config = PrometheusConfig
    secrets = PrometheusSecrets

    def instant(
        self, config: PrometheusConfig, secrets: PrometheusSecrets, query: str, *, at: datetime, timeout: float = 10.0
    ) -> Instant:
        """The query's value at one time: a vector or a scalar. Raises ConnectorError."""
        data, warnings = self._ask(config, secrets, "query", {"query": query, "time": _unix(at)}, timeout)
        kind, result = data.get("resultType"), data.get("result")
        try:
            if kind == "scalar" and isinstance(result, list):
                return Instant([Sample({}, _moment(result[0]), _number(result[1]))], warnings)
            if kind == "vector" and isinstance(result, list):
                return Instant([_sample(row) for row in result], warnings)
        except (KeyError, IndexError, TypeError, ValueError, OverflowError):
            raise ConnectorError("bad_answer", "Prometheus gave samples that cannot be read.") from None
        if kind in ("matrix", "string"):
            raise ConnectorError("bad_query", f"The query gives a {kind}, not numbers at one time: {_short(query)}")
        raise ConnectorError("bad_answer", f"Prometheus gave a result of unknown type {kind!r}.")

    def range(
        self,
        config: PrometheusConfig,
        secrets: PrometheusSecrets,
        query: str,
        *,
        start: datetime,
        end: datetime,
        step: float,
        timeout: float = 10.0,
    ) -> Range:
        """The query's values every `step` seconds from `start` to `end`, both included. Raises ConnectorError."""
        expected = int((end - start).total_seconds() // step) + 1
        if expected > MAX_POINTS:
            raise ConnectorError(
                "limit", f"{expected} points are too many (at most {MAX_POINTS}); take a longer step.", refused=True
            )
        fields = {"query": query, "start": _unix(start), "end": _unix(end), "step": f"{step:g}"}
        data, warnings = self._ask(config, secrets, "query_range", fields, timeout)
        if data.get("resultType") != "matrix" or not isinstance(data.get("result"), list):
            raise ConnectorError("bad_answer", f"Prometheus gave a {data.get('resultType')!r} for a range.")
        try:
            found = [
                Series(_labels(row), [(float(at), _number(value)) for at, value in row["values"]])
                for row in data["result"]
            ]
        except (KeyError, IndexError, TypeError, ValueError, OverflowError):
            raise ConnectorError("bad_answer", "Prometheus gave samples that cannot be read.") from None
        return Range(found, step, expected, warnings)

    def health(self, config: PrometheusConfig, secrets: PrometheusSecrets) -> Health:
        """Ask for the number one, which needs address and credentials but no data."""
        try:
            answer = self.instant(config, secrets, "vector(1)", at=datetime.now(UTC) - timedelta(seconds=1), timeout=5)
        except ConnectorError as error:
            return Health(ok=False, line=error.sentence)
        if answer.state != "ok":
            return Health(ok=False, line="It answers, but not with the number it was asked for.")
        return Health(ok=True, line="It answers queries.")

    def _ask(
        self,
        config: PrometheusConfig,
        secrets: PrometheusSecrets,
        call: str,
        fields: Mapping[str, str],
        timeout: float,
    ) -> tuple[dict[str, Any], list[str]]:
        url, encoded = f"{config.url}/api/v1/{call}", urlencode(fields)
        headers = _login(secrets) | ({"X-Scope-OrgID": config.org_id} if config.org_id else {})
        try:
            if len(encoded) <= _LONGEST_GET:
                answer = http.request("GET", f"{url}?{encoded}", headers=headers, timeout=timeout, max_bytes=_MAX_BYTES)
            else:
                headers["Content-Type"] = "application/x-www-form-urlencoded"
                answer = http.request(
                    "POST", url, headers=headers, content=encoded, timeout=timeout, max_bytes=_MAX_BYTES
                )
            return _read(answer, fields["query"])
        except http.HttpError as error:
            raise failed(error) from None


def _read(answer: http.Answer, query: str) -> tuple[dict[str, Any], list[str]]:
    """The data of a good answer, or the error that it stands for."""
    try:
        body = answer.json()
    except http.HttpError:
        if answer.status >= 300:
            raise refusal(answer, "Prometheus") from None
        raise
    if not isinstance(body, dict) or body.get("status") not in ("success", "error"):
        if answer.status >= 300:
            raise refusal(answer, "Prometheus")
        raise ConnectorError("bad_answer", "The answer is JSON, but not of Prometheus' query API.")
    if body["status"] == "error" or answer.status >= 300:
        raise _fault(answer, str(body.get("errorType", "")), str(body.get("error", "")), query)
    data = body.get("data")
    if not isinstance(data, dict):
        raise ConnectorError("bad_answer", "The answer holds no data.")
    return data, [str(line)[:200] for line in body.get("warnings") or []][:10]


def _fault(answer: http.Answer, kind: str, words: str, query: str) -> ConnectorError:
    """Prometheus' own error in our words: 400 bad_data, 422 execution, 503 timeout or unavailable."""
    words = " ".join(words[:300].split())
    if answer.status in (401, 403, 404, 429):
        return refusal(answer, "Prometheus")
    if kind == "bad_data" or answer.status == 400:
        reason = "limit" if "exceeded maximum resolution" in words else "bad_query"
        return ConnectorError(reason, f"Prometheus refuses the query: {words} ({_short(query)})", refused=True)
    if kind == "execution" or answer.status == 422:
        reason = "limit" if "too many samples" in words else "execution"
        return ConnectorError(reason, f"Prometheus cannot carry out the query: {words} ({_short(query)})", refused=True)
    if kind in ("timeout", "canceled"):
        return ConnectorError("timeout", f"Prometheus gave up on the query: {words}", retry_after=retry_after(answer))
    return ConnectorError(
        "unavailable", f"Prometheus answered {answer.status} {kind}: {words}", retry_after=retry_after(answer)
    )


def _login(secrets: PrometheusSecrets) -> dict[str, str]:
    bearer = secrets.bearer.get_secret_value()
    if bearer:
        return {"Authorization": f"Bearer {bearer}"}
    if secrets.username:
        pair = f"{secrets.username}:{secrets.password.get_secret_value()}".encode()
        return {"Authorization": "Basic " + base64.b64encode(pair).decode()}
    return {}


def _sample(row: dict[str, Any]) -> Sample:
    at, value = row["value"]
    return Sample(_labels(row), _moment(at), _number(value))


def _labels(row: dict[str, Any]) -> dict[str, str]:
    return {str(key): str(value) for key, value in dict(row["metric"]).items()}


def _number(text: Any) -> float:
    """A value as Prometheus writes it: a string, with NaN, +Inf and -Inf."""
    if not isinstance(text, str):
        raise TypeError("values are strings")
    return float(text)


def _moment(unix: Any) -> datetime:
    return datetime.fromtimestamp(float(unix), UTC)


def _unix(moment: datetime) -> str:
    return f"{moment.timestamp():.3f}"


def _short(query: str) -> str:
    line = " ".join(query.split())
    return line if len(line) <= 160 else line[:157] + "…"

"""Anything that answers JSON over HTTP: a status page, a model's scoring endpoint, an internal tool."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field, SecretStr, field_validator

from catalog.connectors.base import Address, Config, Connector, ConnectorError, Health, Secrets, failed, refusal
from common import http


class HttpJsonConfig(Config):
    """The address that every call starts with, and headers that hold nothing secret."""

    url: Address
    headers: dict[str, str] = Field(default_factory=dict, max_length=20)
    # Asked for the health line; the address itself by default.
    health_path: str = Field("", max_length=300, pattern=r"^(/[!-~]*)?$")


class HttpJsonSecrets(Secrets):
    """Headers with credentials, such as Authorization or X-API-Key."""

    headers: dict[str, SecretStr] = Field(default_factory=dict, max_length=20)

    @field_validator("headers")
    @classmethod
    def _printable(cls, value: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name, secret in value.items():
            if any(not 32 <= ord(char) < 127 for char in name + secret.get_secret_value()):
                raise ValueError("headers hold printable ASCII only")
        return value


class HttpJson(Connector[HttpJsonConfig, HttpJsonSecrets]):
    """Any system that answers JSON over HTTPS: a provider's status page, the endpoint that scores a model version.

    `url` is what every call starts with; checks add a path. Credentials go into the secret `headers`. An address
    inside your network must be named in BACKSTOP_OUTBOUND_ALLOW, exactly as `scheme://host:port`.
    """

    name: ClassVar[str] = "http_json"
    title: ClassVar[str] = "JSON over HTTP"
    example: ClassVar[dict[str, Any]] = {"url": "https://status.example.com", "headers": {"Accept": "application/json"}}
    config = HttpJsonConfig
    secrets = HttpJsonSecrets

    def get(
        self,
        config: HttpJsonConfig,
        secrets: HttpJsonSecrets,
        path: str = "",
        *,
        params: dict[str, str] | None = None,
        timeout: float = 10.0,
    ) -> tuple[Any, http.Answer]:
        """The JSON at `path` and the whole answer. Raises ConnectorError."""
        return self._call("GET", config, secrets, path, params=params, timeout=timeout)

    def post(
        self,
        config: HttpJsonConfig,
        secrets: HttpJsonSecrets,
        path: str,
        body: Any,
        *,
        key: str = "",
        timeout: float = 10.0,
    ) -> tuple[Any, http.Answer]:
        """Send JSON, with an idempotency key where one is given, and read JSON. Raises ConnectorError."""
        return self._call("POST", config, secrets, path, body=body, key=key, timeout=timeout)

    def health(self, config: HttpJsonConfig, secrets: HttpJsonSecrets) -> Health:
        """Whether the health path answers JSON."""
        try:
            self.get(config, secrets, config.health_path, timeout=5)
        except ConnectorError as error:
            return Health(ok=False, line=error.sentence)
        return Health(ok=True, line="It answers JSON.")

    def _call(
        self,
        method: str,
        config: HttpJsonConfig,
        secrets: HttpJsonSecrets,
        path: str,
        *,
        params: dict[str, str] | None = None,
        body: Any = None,
        key: str = "",
        timeout: float = 10.0,
    ) -> tuple[Any, http.Answer]:
        headers = config.headers | {name: value.get_secret_value() for name, value in secrets.headers.items()}
        if key:
            headers["Idempotency-Key"] = key
        if path and not path.startswith("/"):
            path = "/" + path
        try:
            answer = http.request(
                method, config.url + path, headers=headers, params=params, json=body, timeout=timeout, max_bytes=4 << 20
            )
            if answer.status >= 300:
                raise refusal(answer, http.parse(config.url).host)
            return answer.json(), answer
        except http.HttpError as error:
            raise failed(error) from None

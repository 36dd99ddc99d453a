"""A small HTTP flag service: one named value decides what serves, and setting it is compare-and-set."""

from __future__ import annotations

from typing import Any, ClassVar
from urllib.parse import quote

from pydantic import SecretStr

from catalog.connectors.base import (
    Address,
    Config,
    ConnectorError,
    FlagConnector,
    FlagState,
    Health,
    Secrets,
    failed,
    refusal,
)
from common import http


class FlagConfig(Config):
    """Where the flag service is; a flag that `probe` names is read for the health line."""

    url: Address
    probe: str = ""


class FlagSecrets(Secrets):
    """A bearer token, if it wants one."""

    bearer: SecretStr = SecretStr("")


class Flag(FlagConnector[FlagConfig, FlagSecrets]):
    """A flag service with two calls.

    `GET {url}/flags/<name>` answers `{"name", "value", "version"?}`. `PUT {url}/flags/<name>` with
    `{"value", "expect"}` sets it only while it still holds `expect`, and answers 409 otherwise; the header
    `Idempotency-Key` makes a repeated PUT harmless. The simulated service of the demo speaks it; a few lines in front
    of any flag system do too.
    """

    name: ClassVar[str] = "flag"
    title: ClassVar[str] = "Flag service"
    example: ClassVar[dict[str, Any]] = {"url": "https://flags.example.com", "probe": "chat-model"}
    config = FlagConfig
    secrets = FlagSecrets

    def read(self, config: FlagConfig, secrets: FlagSecrets, flag: str) -> FlagState:
        """The flag now."""
        return self._call("GET", config, secrets, flag)

    def write(
        self, config: FlagConfig, secrets: FlagSecrets, flag: str, *, value: Any, expect: Any, key: str
    ) -> FlagState:
        """Set the flag if it still holds `expect`."""
        return self._call("PUT", config, secrets, flag, body={"value": value, "expect": expect}, key=key)

    def health(self, config: FlagConfig, secrets: FlagSecrets) -> Health:
        """Read the probe flag; without one, an answer of any kind proves the address."""
        try:
            self.read(config, secrets, config.probe or "backstop-health")
        except ConnectorError as error:
            known = error.reason != "not_found" or bool(config.probe)
            return Health(ok=not known, line=error.sentence if known else "It answers.")
        return Health(ok=True, line="It answers with flags.")

    def _call(
        self, method: str, config: FlagConfig, secrets: FlagSecrets, flag: str, *, body: Any = None, key: str = ""
    ) -> FlagState:
        bearer = secrets.bearer.get_secret_value()
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        if key:
            headers["Idempotency-Key"] = key
        try:
            answer = http.request(
                method, f"{config.url}/flags/{quote(flag, safe='')}", headers=headers, json=body, timeout=8
            )
            if answer.status >= 300:
                raise refusal(answer, f"the flag service for {flag}")
            return _state(answer.json(), flag, changed=method == "PUT")
        except http.HttpError as error:
            raise failed(error) from None


def _state(found: Any, flag: str, *, changed: bool) -> FlagState:
    if not isinstance(found, dict) or "value" not in found:
        # After a PUT nobody knows whether it took, so this is not "refused".
        raise ConnectorError("bad_answer", f"The flag service gave no value for {flag}.", refused=not changed)
    return FlagState(flag, found["value"], str(found.get("version", "")))

"""Connectors against loopback fakes: what they send, and flags in a file."""

from __future__ import annotations

import base64
import json
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from catalog.connectors.base import ConnectorError
from catalog.connectors.file_flag import FileFlag, FileFlagConfig, FileFlagSecrets
from catalog.connectors.flag import Flag, FlagConfig, FlagSecrets
from catalog.connectors.http_json import HttpJson, HttpJsonConfig, HttpJsonSecrets
from catalog.connectors.prometheus import Prometheus, PrometheusConfig, PrometheusSecrets
from common import http
from tests.fakes.prometheus import fake_prometheus
from tests.fakes.web import Reply, serve, unused_url

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
NO_SECRETS = PrometheusSecrets()


def test_prometheus_sends_credentials_and_tenant() -> None:
    with fake_prometheus() as fake:
        config = PrometheusConfig(url=fake.url + "/", org_id="team-a")
        Prometheus().instant(config, PrometheusSecrets(bearer=SecretStr("t0ken-t0ken")), "up", at=NOW)
        Prometheus().instant(config, PrometheusSecrets(username="u", password=SecretStr("p")), "up", at=NOW)
    first, second = fake.web.asked
    assert (first.headers["authorization"], first.headers["x-scope-orgid"]) == ("Bearer t0ken-t0ken", "team-a")
    assert second.headers["authorization"] == "Basic " + base64.b64encode(b"u:p").decode()
    assert float(first.form["time"]) == NOW.timestamp()


def test_prometheus_tells_states_apart() -> None:
    with fake_prometheus() as fake:
        fake.answers.number("nan", "NaN")
        config = PrometheusConfig(url=fake.url)
        states = [
            Prometheus().instant(config, NO_SECRETS, query, at=NOW).state for query in ("vector(1)", "nan", "missing")
        ]
    assert states == ["ok", "not_a_number", "empty"]


def test_prometheus_refuses_too_many_points() -> None:
    config = PrometheusConfig(url="https://prometheus.test")
    with pytest.raises(ConnectorError) as caught:
        Prometheus().range(config, NO_SECRETS, "up", start=NOW - timedelta(days=10), end=NOW, step=15)
    assert (caught.value.reason, caught.value.refused) == ("limit", True)


def test_prometheus_says_how_it_is() -> None:
    with fake_prometheus() as fake:
        good = Prometheus().health(PrometheusConfig(url=fake.url), NO_SECRETS)
    url = unused_url()
    http.allow(url)
    bad = Prometheus().health(PrometheusConfig(url=url), NO_SECRETS)
    http.forget(url)
    blocked = Prometheus().health(PrometheusConfig(url=url), NO_SECRETS)
    assert (good.ok, bad.ok, blocked.ok) == (True, False, False)
    assert "cannot be reached" in bad.line
    assert "BACKSTOP_OUTBOUND_ALLOW" in blocked.line


@pytest.mark.parametrize("url", ["ftp://a.test", "https://u:p@a.test", "a.test", "https://a.test/#x"])
def test_settings_refuse_strange_addresses(url: str) -> None:
    with pytest.raises(ValidationError):
        PrometheusConfig(url=url)


def test_json_sends_headers_and_keys() -> None:
    with serve(lambda asked: Reply(asked.body or b"[]")) as web:
        config = HttpJsonConfig(url=web.url, headers={"X-A": "1"})
        secrets = HttpJsonSecrets(headers={"X-Key": SecretStr("s3cret-s3cret")})
        data, _ = HttpJson().post(config, secrets, "eval", {"a": 1}, key="k")
    asked = web.asked[0]
    assert (data, asked.path) == ({"a": 1}, "/eval")
    assert [asked.headers[name] for name in ("x-a", "x-key", "idempotency-key")] == ["1", "s3cret-s3cret", "k"]


def test_flag_reads_and_sets() -> None:
    with serve(lambda asked: Reply(b'{"name": "a b", "value": "v1", "version": 7}')) as web:
        config = FlagConfig(url=web.url)
        state = Flag().read(config, FlagSecrets(), "a b")
        Flag().write(config, FlagSecrets(bearer=SecretStr("t")), "a b", value="v2", expect="v1", key="k")
    assert (state.value, state.version) == ("v1", "7")
    put = web.asked[1]
    assert (put.method, put.path, json.loads(put.body)) == ("PUT", "/flags/a%20b", {"value": "v2", "expect": "v1"})
    assert (put.headers["idempotency-key"], put.headers["authorization"]) == ("k", "Bearer t")


@pytest.mark.parametrize(
    ("reply", "reason", "refused"),
    [
        (Reply(b"", 409), "conflict", True),
        (Reply(b"", 404), "not_found", True),
        (Reply(b"", 502), "unavailable", False),
        (Reply(b"{}"), "bad_answer", False),
        (Reply(b"nonsense"), "bad_answer", False),
    ],
)
def test_flag_says_whether_nothing_changed(reply: Reply, reason: str, *, refused: bool) -> None:
    with serve(lambda asked: reply) as web, pytest.raises(ConnectorError) as caught:
        Flag().write(FlagConfig(url=web.url), FlagSecrets(), "f", value=1, expect=0, key="k")
    assert (caught.value.reason, caught.value.refused) == (reason, refused)


@pytest.fixture
def flag_file(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FileFlagConfig:
    """A flag file in a data folder of its own, with flag `f` at 0."""
    monkeypatch.setattr(settings.BACKSTOP, "data_dir", tmp_path)
    config = FileFlagConfig(path="demo/flags.json")
    FileFlag().create(config, "f", value=0)
    return config


def put(config: FileFlagConfig, value: Any, expect: Any, key: str = "") -> Any:
    """Set flag `f`."""
    return FileFlag().write(config, FileFlagSecrets(), "f", value=value, expect=expect, key=key).value


def test_a_flag_file_compares_and_sets(flag_file: FileFlagConfig) -> None:
    assert put(flag_file, 1, 0) == 1
    with pytest.raises(ConnectorError, match="holds 1, not 0"):
        put(flag_file, 2, 0)
    assert FileFlag().read(flag_file, FileFlagSecrets(), "f").version == "2"


def test_a_flag_file_knows_its_keys(flag_file: FileFlagConfig) -> None:
    put(flag_file, 1, 0, key="k")
    put(flag_file, 2, 1, key="l")
    assert put(flag_file, 1, 0, key="k") == 2


def test_a_flag_file_lets_one_of_many_win(flag_file: FileFlagConfig) -> None:
    won: list[int] = []

    def run(number: int) -> None:
        try:
            put(flag_file, number, 0)
            won.append(number)
        except ConnectorError:
            pass

    threads = [threading.Thread(target=run, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [FileFlag().read(flag_file, FileFlagSecrets(), "f").value] == won


@pytest.mark.parametrize("path", ["../x.json", "/etc/x", "a/../../x", "", ".hidden", "a//b"])
def test_a_flag_file_stays_in_the_data_folder(path: str) -> None:
    with pytest.raises(ValidationError):
        FileFlagConfig(path=path)


def test_a_flag_file_follows_no_link_out(flag_file: FileFlagConfig, tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to("/etc")
    with pytest.raises(ConnectorError) as caught:
        FileFlag().read(FileFlagConfig(path="out/passwd"), FileFlagSecrets(), "f")
    assert caught.value.reason == "blocked"


def test_a_broken_flag_file_is_told(flag_file: FileFlagConfig, tmp_path: Path) -> None:
    (tmp_path / "demo/flags.json").write_text("[")
    health = FileFlag().health(flag_file, FileFlagSecrets())
    assert (health.ok, "not JSON" in health.line) == (False, True)

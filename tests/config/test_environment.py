"""Settings that must not serve in production."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from config.environment import Environment

SAFE = {
    "database_url": "postgres://backstop@db.example.com/backstop",
    "redis_url": "redis://:long-password@redis.example.com:6379/0",
    "secret_keys": ["a-key-for-this-test-that-is-long-enough"],
    "base_url": "https://backstop.example.com",
}


def faults(**changes: str) -> str:
    """What is wrong once these are changed."""
    return "\n".join(Environment.model_validate(SAFE | changes).faults())


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "http://localhost", "http://[::1]:8000", SAFE["base_url"]])
def test_plain_http_is_for_this_machine(url: str) -> None:
    assert faults(base_url=url) == ""


@pytest.mark.parametrize(
    "url",
    [
        "http://backstop.example.com",
        "http://localhost.example.com",
        "http://127.0.0.1.example.com",
        "http://localhost@backstop.example.com",
        "http://backstop.example.com/?//localhost",
    ],
)
def test_plain_http_to_anybody_else_is_refused(url: str) -> None:
    assert "BACKSTOP_BASE_URL must start with https://" in faults(base_url=url)


@pytest.mark.parametrize(
    "url",
    [
        "redis://redis.example.com",
        "redis://127.0.0.1.example.com/0",
        "redis://@redis.example.com",
        "redis://me@r.example",
    ],
)
def test_redis_elsewhere_needs_a_password(url: str) -> None:
    assert "BACKSTOP_REDIS_URL needs a password" in faults(redis_url=url)


@pytest.mark.parametrize("url", ["redis://127.0.0.1:6379/0", "redis://localhost/1", SAFE["redis_url"]])
def test_redis_here_or_with_a_password_is_fine(url: str) -> None:
    assert faults(redis_url=url) == ""


def test_an_address_that_is_none_is_named() -> None:
    with pytest.raises(ValidationError, match="redis_url"):
        faults(redis_url="redis://:pass[word@redis.example.com")

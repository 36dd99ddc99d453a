"""What is secret stays out of the log."""

from __future__ import annotations

import base64
import io
import json
import logging
import logging.config
import sys
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from django.conf import settings

from common.secrets import MASK, RedactingFilter, keyed_digests, redact, remember


@pytest.mark.parametrize(
    "path", ["/hooks/alertmanager/wARxA-UtYJ5LDm9uxvidZMl6u5dGC", "/login/link/wARxA-UtYJ5LDm9uxvid"]
)
def test_an_address_that_is_a_secret_is_masked_wherever_django_logs_it(path: str) -> None:
    record = logging.makeLogRecord({"msg": "Service Unavailable: %s", "args": (path,), "request": f"POST {path}"})
    assert RedactingFilter().filter(record)
    assert "wARxA" not in str(record.__dict__)
    assert "[secret]" in record.getMessage()


@pytest.mark.parametrize("around", ["{}", "user:{}", "ab{}", "{}!", "a{}zz", "{} and more"])
def test_a_secret_in_use_is_masked_in_base64_wherever_it_stands_in_the_text(around: str) -> None:
    secret = "säsame/open?the>door"
    remember({"token": secret})
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        around_it = len(encode(around.format("").encode()))
        shown = redact(encode(around.format(secret).encode()).decode())
        assert MASK in shown
        # No more is left than the signs that hold bits of what stands around it.
        assert len(shown) <= len(MASK) + around_it + 4


@pytest.mark.parametrize("form", [str, quote, lambda text: json.dumps(text)[1:-1], lambda text: quote(text, safe="")])
def test_a_secret_in_use_is_masked_in_every_form(form: Callable[[str], str]) -> None:
    secret = 'pass/"word" ü and more'
    remember([secret])
    assert redact(f"before {form(secret)} after") == f"before {MASK} after"


def test_it_keeps_what_was_used_last_and_no_more_than_it_must() -> None:
    remember(["the-first-secret"])
    remember([f"another-secret-{number}" for number in range(2_100)])
    assert redact("the-first-secret another-secret-2099") == f"the-first-secret {MASK}"


def test_a_traceback_in_the_log_is_masked() -> None:
    secret = "sesame-of-a-traceback"
    remember([secret])
    out = io.StringIO()
    made = logging.config.DictConfigurator(settings.LOGGING).configure_formatter(
        dict(settings.LOGGING["formatters"]["structured"])
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(made)
    try:
        raise ValueError(f"the other side repeats {secret}")
    except ValueError:
        error = sys.exc_info()
    handler.handle(logging.LogRecord("x", logging.ERROR, __file__, 1, "it failed", (), error))
    assert secret not in out.getvalue()
    assert "ValueError: the other side repeats [secret]" in out.getvalue()


def test_the_keyed_digest_tells_a_changed_secret_by_every_key(settings: Any) -> None:
    settings.SECRET_KEYS = ["a" * 32]
    old = keyed_digests(b"x")
    settings.SECRET_KEYS = ["b" * 32, "a" * 32]
    assert keyed_digests(b"x")[1:] == old
    assert not set(keyed_digests(b"y")) & set(keyed_digests(b"x"))

"""What is secret stays out of the log."""

from __future__ import annotations

import logging

import pytest

from common.secrets import RedactingFilter


@pytest.mark.parametrize(
    "path", ["/hooks/alertmanager/wARxA-UtYJ5LDm9uxvidZMl6u5dGC", "/login/link/wARxA-UtYJ5LDm9uxvid"]
)
def test_an_address_that_is_a_secret_is_masked_wherever_django_logs_it(path: str) -> None:
    record = logging.makeLogRecord({"msg": "Service Unavailable: %s", "args": (path,), "request": f"POST {path}"})
    assert RedactingFilter().filter(record)
    assert "wARxA" not in str(record.__dict__)
    assert "[secret]" in record.getMessage()

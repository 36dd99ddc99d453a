"""The shipped Prometheus rules ask for numbers that exist, and each speaks up and is silent as it should."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from django.test import Client

from tests import servers

RULES = Path(__file__).parents[2] / "deploy/prometheus/alerts.yaml"
CASES = RULES.with_name("alerts.test.yaml")


def test_every_number_that_a_rule_asks_for_is_told(db: None, client: Client) -> None:
    told = set(re.findall(r"^# TYPE (\w+)", client.get("/metrics").content.decode(), re.MULTILINE))
    asked = set(re.findall(r"\bbackstop_\w+", RULES.read_text()))
    assert asked - told == set()


def test_every_rule_has_cases() -> None:
    rules = re.findall(r"- alert: (\w+)", RULES.read_text())
    cases = re.findall(r"alertname: (\w+)", CASES.read_text())
    assert [rule for rule in rules if cases.count(rule) < 2] == []


@pytest.mark.real
def test_the_rules_do_as_their_cases_say() -> None:
    done = subprocess.run([servers.program("promtool"), "test", "rules", str(CASES)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr

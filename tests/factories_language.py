"""Builders for runbook texts, and small checks and actions to lint them against."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from pydantic import Field

from runbooks.actions.base import Action, EffectClass, Risk
from runbooks.checks.base import Check, Params


class ProbeParams(Params):
    signal: str
    limit: float = 1
    query: str = Field("", json_schema_extra={"code": True})


class Judge(Check[ProbeParams]):
    """Judges by itself and counts."""

    name: ClassVar[str] = "fake.judge"
    title: ClassVar[str] = "Judge"
    gives_verdict: ClassVar[bool] = True
    gives_samples: ClassVar[bool] = True
    gives_age: ClassVar[bool] = True
    params = ProbeParams


class Measure(Check[ProbeParams]):
    """Only measures."""

    name: ClassVar[str] = "fake.measure"
    title: ClassVar[str] = "Measure"
    params = ProbeParams


class SwitchParams(Params):
    to: str


class Switch(Action[SwitchParams]):
    """Sets something."""

    name: ClassVar[str] = "fake.switch"
    title: ClassVar[str] = "Switch"
    effect_class: ClassVar[EffectClass] = "set"
    risk: ClassVar[Risk] = "medium"
    params = SwitchParams


class Once(Action[SwitchParams]):
    """Cannot be taken back or repeated."""

    name: ClassVar[str] = "fake.once"
    title: ClassVar[str] = "Once"
    effect_class: ClassVar[EffectClass] = "once"
    risk: ClassVar[Risk] = "high"
    params = SwitchParams


class Tell(Action[SwitchParams]):
    """Only tells."""

    name: ClassVar[str] = "fake.tell"
    title: ClassVar[str] = "Tell"
    effect_class: ClassVar[EffectClass] = "notify"
    risk: ClassVar[Risk] = "low"
    params = SwitchParams


CHECKS: dict[str, Check[Any]] = {check.name: check for check in (Judge(), Measure())}
ACTIONS: dict[str, Action[Any]] = {action.name: action for action in (Switch(), Once(), Tell())}

RUNBOOK = """\
spec: 1
id: sample
title: A sample
incident_type: other
owner: team:default
triggers:
  - alert: alert.status == 'firing' and alert.labels.kind == 'sample'
inputs:
  service: {type: string, from: alert.labels.service, pattern: "[a-z-]+"}
  words: {type: string, default: hello}
hypotheses:
  broken:
    title: It is broken
    evidence:
      first: {fail: 3, pass: -3}
phases:
  check:
    - id: first
      check: fake.judge
      with: {signal: "{{ inputs.words }}"}
  measure:
    - id: second
      check: fake.measure
      with: {signal: latency}
      fail_if: value > 1 and steps.first.verdict == 'fail'
  remediate:
    - id: change
      if: diagnosis.top == 'broken'
      action: fake.switch
      with: {to: previous}
      lock: "service:{{ inputs.service }}"
      irreversible: It can be switched again.
  verify:
    - id: calm
      wait: 1m
    - id: better
      check: fake.judge
      with: {signal: latency}
outputs:
  cause: diagnosis.top
"""


def make_text(*changes: tuple[str, str]) -> str:
    """The sample runbook with pieces of its text replaced; each must be there."""
    text = RUNBOOK
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    return text


@contextmanager
def ends_within(seconds: float) -> Iterator[None]:
    """Fail when the work inside takes much longer than it may.

    A busy machine steals even from thread time (we saw factors of five), so the limit is ten times the promise: that
    still tells a bomb, which takes minutes, from work.
    """
    began = time.thread_time()
    yield
    took = time.thread_time() - began
    assert took < 10 * seconds, f"took {took:.1f} s"

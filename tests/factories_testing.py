"""A small runbook with one branch of each kind, and the beginning of its tests."""

from __future__ import annotations

RUNBOOK = """\
spec: 1
id: small
title: A small runbook
incident_type: other
owner: team:default
triggers:
  - alert: alert.status == 'firing' and alert.labels.kind == 'small'
inputs:
  service: {type: string, from: alert.labels.service, pattern: "[a-z-]{1,40}"}
hypotheses:
  ours:
    title: It is ours
    evidence:
      errors: {fail: 4, pass: -4}
phases:
  check:
    - id: errors
      check: metric.query
      with: {signal: error_rate, window: 5m}
      fail_if: value > 0.05
      min_samples: 20
  triage:
    - id: look
      if: diagnosis.top == 'unknown'
      manual: Look at it.
      fields: {bad: {type: integer, min: 0, max: 10}}
      fail_if: result.bad >= 6
      timeout: 1h
      on_verdict: {fail: continue, inconclusive: continue}
  remediate:
    - id: roll_back
      if: steps.errors.verdict == 'fail'
      action: model.rollback
      with: {to: previous}
      risk: high
      lock: "service:{{ inputs.service }}"
      approval:
        from: [role:oncall]
        timeout: 20m
        escalate: [{after: 10m, to: role:lead}]
        message: Shall we?
      irreversible: It is only a test.
    - id: tell
      action: notify.send
      with: {text: done}
  verify:
    - id: settle
      wait: 10m
    - id: quiet
      check: metric.query
      with: {signal: error_rate, window: 5m}
      pass_if: value < 0.02
      fail_if: value > 0.05
"""
HEAD = """\
runbook: small
inputs: {service: rag-chat}
stubs:
  errors: {value: 0.2, samples: 400}
  quiet: {value: 0.01}
"""

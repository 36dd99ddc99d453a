"""What the production journey puts into a set-up's database; run in it by `manage.py shell`."""

from __future__ import annotations

import json
from datetime import timedelta

from catalog import people, versions
from catalog.models import Team
from common import clock
from incidents import endpoints
from web.operate import demo

RUNBOOK = """\
spec: 1
id: production_journey
title: Is the new version worse?
incident_type: accuracy_drop
owner: role:oncall
triggers:
  - alert: alert.status == 'firing' and alert.labels.kind == 'production_journey'
inputs:
  service: {type: string, from: alert.labels.service, pattern: "[a-z0-9_-]{1,40}", description: Which service}
hypotheses:
  model_regression:
    title: The serving version is worse than the previous one
    evidence:
      accuracy_now: {fail: 4, pass: -4}
      failing_requests: {pass: 1, fail: -1}
phases:
  measure:
    - id: accuracy_now
      name: Is live accuracy lower than before?
      check: metric.compare
      with: {signal: accuracy, window: 30m}
    - id: failing_requests
      name: Do more requests fail than before?
      check: metric.compare
      with: {signal: error_rate, window: 30m}
  remediate:
    - id: roll_back
      name: Let the previous version serve again
      if: diagnosis.top == 'model_regression'
      action: model.rollback
      with: {to: previous}
      risk: high
      lock: "service:{{ inputs.service }}"
      approval: {from: [role:oncall], timeout: 30m}
  verify:
    - id: settle
      name: Let the flag reach everybody
      wait: 5s
    - id: serves_previous
      name: Does the previous version serve?
      check: http.json
      with: {connection: demo-model, address: /flags/chat-model, path: value}
      pass_if: value == 'v42'
      fail_if: value != 'v42'
"""


def arrange(url: str) -> str:
    """The simulated service behind `url`, looked after by the default team; gives what the outside needs, as JSON."""
    admin = people.first_user()
    team = Team.objects.get(slug="default")
    demo.connect(team, url)
    versions.promote(demo.load_service(team), demo.NEW, at=clock.now() - timedelta(minutes=12))
    endpoint, token = endpoints.create(source="alertmanager", name="am", team=team)
    _, program = people.create_token(admin, name="journey", scopes=["*"])
    link = f"/login/link/{people.new_login_link(admin)}"
    return json.dumps({"hook": endpoints.url(endpoint, token), "token": program, "link": link})

"""A team with one thing of every kind, and ways to call the pages and the API as somebody."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import timedelta
from html import unescape
from typing import Any

from django.http import HttpResponse
from django.test import Client

from catalog import people, team_secrets
from catalog.actors import ENGINE, person
from catalog.models import Address, ApiToken, Change, Connection, Secret, Service, Signal, Team, User
from common import clock
from evaluations import sets
from evaluations.models import EvaluationSet
from incidents import endpoints, timeline
from incidents.evidence import store
from incidents.models import (
    ActionItem,
    Alert,
    Delivery,
    Endpoint,
    Gate,
    Incident,
    Postmortem,
    PostmortemComment,
    PostmortemEdition,
    PostmortemOffer,
)
from runbooks import runs
from runbooks.models import ApprovalRequest, Run, Runbook, StepRun
from tests.factories import (
    make_connection,
    make_incident,
    make_picture,
    make_service,
    make_signal,
    make_team,
    make_user,
)
from tests.factories_runbooks import make_runbook

# Part of every visible text of a world: where it must not be seen, none of it may be.
MARK = "zqmarkqz"


@dataclass
class World:
    """A team and its things; `member` holds every role."""

    team: Team
    member: User
    service: Service
    connection: Connection
    secret: Secret
    signal: Signal
    evaluation_set: EvaluationSet
    endpoint: Endpoint
    endpoint_token: str
    delivery: Delivery
    alert: Alert
    incident: Incident
    gate: Gate
    runbook: Runbook
    run: Run
    step: StepRun
    approval: ApprovalRequest
    postmortem: Postmortem
    item: ActionItem
    change: Change
    address: Address
    member_address: Address
    token: ApiToken
    evidence: int = 1
    extra: dict[str, Any] = field(default_factory=dict)


def make_world(slug: str = f"{MARK}-team", *, mark: str = MARK) -> World:
    """One thing of every kind, in its first state; `mark` is part of every visible text."""
    now = clock.now()
    team = make_team(slug, name=f"{mark} team")
    member = make_user(f"{slug}-member"[:40], team=team)
    service = make_service(team, f"{slug}-service", title=f"{mark} service")
    connection = make_connection(team, slug=f"{slug}-prom"[:40])
    secret = team_secrets.put(team, name=f"{slug}-key"[:40], value="worlds-own-value", actor=ENGINE)
    case = '{"item": "1", "input": "x", "expected": "y"}'
    golden = sets.load(team, slug=f"{slug}-golden"[:60], title=f"{mark} set", text=case, actor=ENGINE).evaluation_set
    endpoint, token = endpoints.create(source="alertmanager", name=f"{mark} endpoint", team=team)
    delivery = Delivery.objects.create(
        endpoint=endpoint,
        received_at=now,
        body_sha256="0" * 64,
        body_encrypted=endpoint.token_encrypted,
        size=2,
        status="rejected",
        kind="error",
        reason=f"{mark} reason",
    )
    incident = make_incident(team, service, title=f"{mark} incident")
    timeline.record(incident, kind="note", actor=person(member), text=f"{mark} note")
    points = [[now.timestamp() - 60, 0.9], [now.timestamp(), 0.8]]
    store(incident=incident, kind="check", summary=f"{mark} evidence", result={"series": {"value": points}})
    signal = make_signal(service, "accuracy", f"{mark}_query", connection=connection)
    for key in ("", incident.key):
        make_picture(signal, key=key)
    alert = Alert.objects.create(
        endpoint=endpoint,
        dedup_key=f"{mark} key",
        status="firing",
        title=f"{mark} alert",
        starts_at=now,
        first_seen_at=now,
        last_seen_at=now,
        incident=incident,
        service=service,
    )
    gate = Gate.objects.create(incident=incident, key="k", title=f"{mark} gate", blocks="close", opened_at=now)
    runbook = make_runbook(
        team, f"  check:\n    - {{id: look, manual: '{mark} look'}}\n", slug=f"{slug.replace('-', '_')}_book"[:40]
    )
    started = runs.start(runbook, given={}, actor=person(member), team=team, incident=incident)
    assert started.run is not None
    step = started.run.steps.get(step="look")
    approval = ApprovalRequest.objects.create(
        step_run=step,
        generation=1,
        digest="d" * 64,
        principals=["role:oncall"],
        state="superseded",
        preview={"sentence": f"{mark} preview", "before": {}, "after": {}, "lines": [], "warnings": []},
        requested_at=now,
        due_at=now + timedelta(minutes=30),
    )
    postmortem = Postmortem.objects.create(
        incident=incident,
        state="draft",
        owner=member,
        body=f"# {mark} postmortem",
        edition=1,
        clock_started_at=now,
        due_at=now + timedelta(hours=48),
    )
    PostmortemEdition.objects.create(
        postmortem=postmortem, number=1, body=postmortem.body, author=member.label, saved_at=now
    )
    PostmortemOffer.objects.create(postmortem=postmortem, section="summary", text=f"{mark} offer", made_at=now)
    PostmortemComment.objects.create(
        postmortem=postmortem, section="summary", author=member.label, text=f"{mark} comment", at=now
    )
    item = ActionItem.objects.create(
        incident=incident,
        team=team,
        title=f"{mark} item",
        kind="prevent",
        owner=member,
        due_on=(now + timedelta(days=7)).date(),
        created_at=now,
    )
    change = Change.objects.create(
        team=team,
        service=service,
        kind="model",
        summary=f"{mark} change",
        source="api",
        occurred_at=now,
        received_at=now,
    )
    url = "https://hooks.example.com/x"
    address = people.add_address(url=url, label=f"{mark} chat", channel="webhook", hint="hooks.example.com", team=team)
    own = people.add_address(url=url, label=f"{mark} own", channel="webhook", hint="hooks.example.com", user=member)
    api_token, _ = people.create_token(member, name=f"{mark} token", scopes=["read"])
    return World(
        team=team,
        member=member,
        service=service,
        connection=connection,
        secret=secret,
        signal=signal,
        evaluation_set=golden,
        endpoint=endpoint,
        endpoint_token=token,
        delivery=delivery,
        alert=alert,
        incident=incident,
        gate=gate,
        runbook=runbook,
        run=started.run,
        step=step,
        approval=approval,
        postmortem=postmortem,
        item=item,
        change=change,
        address=address,
        member_address=own,
        token=api_token,
    )


def signed_in(user: User, **options: Any) -> Client:
    """A browser of that person, just signed in."""
    client = Client(raise_request_exception=False, **options)
    answer = client.post(f"/login/link/{people.new_login_link(user)}")
    assert answer.status_code == 302, answer.content
    return client


class Program:
    """A program with a token of somebody."""

    def __init__(self, user: User, scopes: list[str] | None = None) -> None:
        self.secret = people.create_token(user, name="test", scopes=scopes or ["*"])[1]
        self.client = Client(raise_request_exception=False)

    def call(self, method: str, path: str, body: object = None, **headers: str) -> HttpResponse:
        """One request under /api/v1/."""
        raw = self.encode(body)
        return self.client.generic(  # type: ignore[return-value]
            method,
            path if path.startswith("/") else f"/api/v1/{path}",
            raw,
            content_type="application/json",
            headers={"Authorization": f"Bearer {self.secret}", **headers},
        )

    @staticmethod
    def encode(body: object) -> str | bytes:
        """A body as JSON; text and bytes as they are."""
        return body if isinstance(body, str | bytes) else "" if body is None else json.dumps(body)

    def get(self, path: str, **headers: str) -> HttpResponse:
        """Read."""
        return self.call("GET", path, **headers)

    def post(self, path: str, body: object = None) -> HttpResponse:
        """Do."""
        return self.call("POST", path, body)


def problem(answer: HttpResponse) -> dict[str, Any]:
    """The problem+json of an answer, checked for what every problem must say."""
    assert answer["Content-Type"].startswith("application/problem+json"), (answer.status_code, answer.content[:300])
    told: dict[str, Any] = json.loads(answer.content)
    assert told["status"] == answer.status_code
    assert told["detail"]
    assert told["code"]
    assert told["request_id"] == answer["X-Request-ID"]
    return told


def text_of(answer: HttpResponse) -> str:
    """What a page says: tags and repeated blanks taken out."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", answer.content.decode())).split())

"""Sensitive inputs and stored secrets: used by the call, and found nowhere else (promise P14)."""

from __future__ import annotations

import base64
import io
import json
import logging
import logging.config
import zlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from django.apps import apps
from django.conf import settings
from django.db import connection
from django.test import Client

from catalog import team_secrets
from catalog.actors import Actor
from catalog.models import Secret, Team
from common import clock
from common.errors import Forbidden, Invalid, NotFound
from incidents.models import Incident
from runbooks import runs
from runbooks.models import ApprovalRequest, Effect, Run
from tests.factories import make_actor
from tests.factories_runbooks import approve, make_runbook, pump, start, states, step
from tests.fakes.echo import echoing
from web.api import shapes

pytestmark = pytest.mark.django_db
# What is looked for: no part of either looks like a secret by its shape.
TYPED, KEPT = "canary-typed/ät 4711", "canary-kept+of?the<team"
HEAD = "inputs:\n  password: {type: string, sensitive: true}\n  zone: {type: string, default: eu}\n"
WITH = (
    "{{token: '{{{{ inputs.password }}}}', headers: {{Authorization: {{secret: upstream}},"
    " X: 'in {{{{ inputs.zone }}}} by {{{{ inputs.password | upper }}}}'}}, how: {how}}}"
)


@pytest.fixture
def heard() -> Iterator[list[Any]]:
    """What the echoing check and action were given."""
    with echoing() as found:
        yield found


@pytest.fixture
def actor(team: Team) -> Actor:
    """A person of the team, which has a secret."""
    actor = make_actor(team)
    team_secrets.put(team, name="upstream", value=KEPT, actor=actor)
    return actor


def whole_database() -> str:
    """Every column of every row, as text."""
    found: list[str] = []
    with connection.cursor() as cursor:
        for model in apps.get_models(include_auto_created=True):
            cursor.execute(f'SELECT * FROM "{model._meta.db_table}"')
            found += [_text(value) for row in cursor.fetchall() for value in row]
    return "\n".join(found)


def _text(value: Any) -> str:
    if not isinstance(value, bytes | memoryview):
        return str(value)
    try:
        return zlib.decompress(bytes(value)).decode()
    except zlib.error:
        return bytes(value).decode(errors="replace")


def traces(text: str) -> list[str]:
    """What of the two values is in a text, in any of the forms in which it could stand there."""
    found = []
    for secret in (TYPED, KEPT, TYPED.upper()):
        longer = base64.b64encode(f"user:{secret}".encode()).decode()
        forms = [secret, quote(secret, safe=""), quote(secret), json.dumps(secret)[1:-1], longer[8:-4]]
        found += [form for form in forms if form in text]
    return found


def asks(how: str) -> str:
    return f"    - {{id: ask_{how}, check: echo.ask, with: {WITH.format(how=how)}, attempts: 1, pass_if: value == 1}}\n"


def acts(how: str) -> str:
    return (
        f"    - {{id: act_{how}, action: echo.act, with: {WITH.format(how=how)}, attempts: 1,"
        " on_verdict: {fail: continue, error: continue, inconclusive: continue},"
        " approval: {from: [role:oncall], message: 'Do it in {{ inputs.zone }}'}}\n"
    )


def test_neither_is_found_anywhere_after_a_whole_run(
    team: Team, incident: Incident, actor: Actor, heard: list[Any]
) -> None:
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        logging.config.DictConfigurator(settings.LOGGING).configure_formatter(
            dict(settings.LOGGING["formatters"]["structured"])
        )
    )
    logging.getLogger().addHandler(handler)
    try:
        hows = ("found", "refused", "not_applied", "ambiguous", "crashed")
        steps = "  check:\n" + "".join(map(asks, ("found", "refused", "crashed")))
        steps += "  remediate:\n" + "".join(map(acts, hows))
        run = start(make_runbook(team, steps, head=HEAD), actor, team, incident, password=TYPED)
        for how in hows:
            pump()
            approve(run, f"act_{how}", actor)
            pump()
            if (doubtful := step(run, f"act_{how}")).state == "unknown":
                runs.answer(doubtful, decision="happened", actor=actor)
        pump()
    finally:
        logging.getLogger().removeHandler(handler)
    run.refresh_from_db()
    assert run.state == "finished", states(run)
    assert len(heard) == 8
    for given in heard:
        assert (given.token, given.headers) == (
            TYPED,
            {"Authorization": KEPT, "X": f"in eu by {TYPED.upper()}"},
        )
    assert traces(whole_database()) == []
    assert out.getvalue().count("RuntimeError: [secret]") == 2
    assert traces(out.getvalue()) == []
    assert traces(json.dumps(shapes.run(run), default=str, ensure_ascii=False)) == []
    client = Client()
    assert actor.user is not None
    client.force_login(actor.user)
    request = ApprovalRequest.objects.filter(step_run__run=run).first()
    assert request is not None
    pages = [f"/runs/{run.uuid}", f"/incidents/{incident.number}/timeline", f"/approvals/{request.uuid}"]
    for page in [*pages, f"/api/v1/incidents/{incident.number}/timeline", f"/api/v1/runs/{run.uuid}"]:
        answer = client.get(page)
        assert answer.status_code == 200, page
        assert traces(answer.content.decode()) == [], page


def test_rows_hold_a_mark_and_the_name(team: Team, actor: Actor, heard: list[Any]) -> None:
    run = start(make_runbook(team, "  check:\n" + asks("found"), head=HEAD), actor, team, password=TYPED)
    assert Run.objects.get(pk=run.pk).inputs == {"password": "•••", "zone": "eu"}
    assert step(run, "ask_found").params == {
        "token": "•••",
        "headers": {"Authorization": {"secret": "upstream"}, "X": "•••"},
        "how": "found",
    }


def test_a_foreign_value_cannot_ask_for_a_secret_by_its_shape(team: Team, actor: Actor, heard: list[Any]) -> None:
    head = "inputs:\n  given: {type: map}\n"
    line = "    - {id: a, check: echo.ask, with: {token: x, headers: '{{ inputs.given }}'}, pass_if: value == 1}\n"
    run = start(make_runbook(team, "  check:\n" + line, head=head), actor, team, given={"secret": "upstream"})
    pump()
    assert heard[0].headers == {"secret": "upstream"}
    assert KEPT not in str(step(run, "a").value)


def test_an_unknown_secret_is_an_error_that_says_so(team: Team, actor: Actor, heard: list[Any]) -> None:
    line = "    - {id: a, check: echo.ask, with: {token: {secret: upstraem}}, pass_if: value == 1}\n"
    run = start(make_runbook(team, "  check:\n" + line), actor, team)
    pump()
    found = step(run, "a")
    assert (found.verdict, found.reason, heard) == ("error", "no_secret", [])
    assert "has no secret 'upstraem' (known: upstream)" in found.summary


def test_a_secret_deleted_before_the_call_is_an_error(team: Team, actor: Actor, heard: list[Any]) -> None:
    run = start(make_runbook(team, "  check:\n" + asks("found"), head=HEAD), actor, team, password=TYPED)
    team_secrets.delete(team, name="upstream", actor=actor)
    pump()
    assert (step(run, "ask_found").reason, heard) == ("no_secret", [])


def test_an_approval_is_not_for_a_secret_that_was_changed_since(team: Team, actor: Actor, heard: list[Any]) -> None:
    text = "  remediate:\n" + acts("found").replace("inconclusive: continue", "inconclusive: ask")
    run = start(make_runbook(team, text, head=HEAD), actor, team, password=TYPED)
    pump()
    approve(run, "act_found", actor)
    team_secrets.put(team, name="upstream", value="another-value", actor=actor)
    pump()
    found = step(run, "act_found")
    assert (found.blocked_on, found.reason, heard) == ("ask", "stale_evidence", [])
    assert not Effect.objects.filter(step_run=found).exists()


def test_a_secret_deleted_after_a_send_leaves_the_effect_in_doubt(
    team: Team, actor: Actor, heard: list[Any], moved_clock: Any
) -> None:
    text = acts("ambiguous").replace("attempts: 1", "attempts: 2").partition(" on_verdict")[0].rstrip().rstrip(",")
    run = start(make_runbook(team, "  remediate:\n" + text + "}\n", head=HEAD), actor, team, password=TYPED)
    pump()
    team_secrets.delete(team, name="upstream", actor=actor)
    moved_clock.forward(minutes=1)
    pump()
    assert (step(run, "act_ambiguous").state, len(heard)) == ("unknown", 1)
    assert Effect.objects.get(step_run__run=run).state == "unknown"


def test_the_digest_of_a_run_outlives_a_new_key(team: Team, actor: Actor, heard: list[Any], settings: Any) -> None:
    text = "  remediate:\n" + acts("found")
    run = start(make_runbook(team, text, head=HEAD), actor, team, password=TYPED)
    pump()
    approve(run, "act_found", actor)
    settings.SECRET_KEYS = ["n" * 40, *settings.SECRET_KEYS]
    pump()
    assert (states(run)["act_found"], len(heard)) == ("pass", 1)


def test_a_value_too_short_to_be_hidden_starts_nothing(team: Team, actor: Actor, heard: list[Any]) -> None:
    runbook = make_runbook(team, "  check:\n" + asks("found"), head=HEAD)
    with pytest.raises(Invalid, match="fewer than 8 characters"):
        start(runbook, actor, team, password="short")
    assert not Run.objects.exists()


def test_secrets_are_kept_encrypted_replaced_and_deleted(team: Team, actor: Actor) -> None:
    first = Secret.objects.get(team=team, name="upstream")
    assert KEPT.encode() not in bytes(first.value_encrypted)
    assert first.created_by == actor.label
    team_secrets.put(team, name="upstream", value="another-value", actor=actor)
    assert team_secrets.reveal(team, "upstream") == "another-value"
    team_secrets.delete(team, name="upstream", actor=actor)
    with pytest.raises(NotFound):
        team_secrets.delete(team, name="upstream", actor=actor)


@pytest.mark.parametrize(("name", "value", "field"), [("Bad name", "long-enough", "name"), ("good", "short", "value")])
def test_a_secret_that_cannot_be_used_is_refused(team: Team, actor: Actor, name: str, value: str, field: str) -> None:
    with pytest.raises(Invalid) as caught:
        team_secrets.put(team, name=name, value=value, actor=actor)
    assert list(caught.value.extra["fields"]) == [field]  # type: ignore[call-overload]
    assert Secret.objects.get().name == "upstream"


def test_only_who_may_configure_writes_secrets(team: Team, actor: Actor) -> None:
    other = make_actor(team, ["responder"])
    with pytest.raises(Forbidden):
        team_secrets.put(team, name="mine", value="long-enough", actor=other)
    with pytest.raises(Forbidden):
        team_secrets.delete(team, name="upstream", actor=other)
    assert Secret.objects.filter(created_at__lte=clock.now()).count() == 1

"""model.rollback: exactly the change that was shown, once, and honest about doubt."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from catalog import versions
from catalog.connectors.file_flag import FileFlag, FileFlagConfig
from catalog.models import Change, Connection, Service
from runbooks.actions.base import Ambiguous, Applied, NotApplied, Refused
from runbooks.actions.model_rollback import ModelRollback, ModelRollbackParams
from runbooks.checks.base import CheckError
from tests.factories import make_connection, make_service
from tests.factories_checks import make_context, make_versions
from tests.fakes.web import Asked, Reply, Web, serve, unused_url

pytestmark = pytest.mark.django_db
ACTION = ModelRollback()
KEY = "k" * 64


class FlagServer:
    """A flag service: compare-and-set, remembers keys; a test may make it fail."""

    def __init__(self) -> None:
        self.value: Any = "v43"
        self.keys: list[str] = []
        self.on_put: Callable[[Asked], Reply | None] = lambda asked: None
        self.web: Web

    def answer(self, asked: Asked) -> Reply:
        if asked.path != "/flags/chat-model":
            return Reply(b"unknown flag", 404)
        if asked.method == "PUT":
            special = self.on_put(asked)
            if special is not None:
                return special
            body = json.loads(asked.body)
            if asked.headers["idempotency-key"] not in self.keys:
                if body["expect"] != self.value:
                    return Reply(b'{"error": "conflict"}', 409)
                self.value = body["value"]
                self.keys.append(asked.headers["idempotency-key"])
        return Reply(json.dumps({"name": "chat-model", "value": self.value}).encode())

    @property
    def puts(self) -> int:
        """How many writes were asked."""
        return sum(asked.method == "PUT" for asked in self.web.asked)


@pytest.fixture
def flags() -> Iterator[FlagServer]:
    """A flag service that serves v43."""
    server = FlagServer()
    with serve(server.answer) as server.web:
        yield server


def flagged(url: str) -> Service:
    """A service whose flag is at `url`, with v41 to v43."""
    service = make_service(slug="rag-chat", title="RAG chat")
    make_connection(service.team, slug="flags", connector="flag", url=url)
    service.rollback = {"connection": "flags", "flag": "chat-model"}
    service.save()
    make_versions(service, ("v41", "kept"), ("v42", "kept"), ("v43", "serving"))
    return service


def apply(service: Service, to: str = "previous", key: str = KEY) -> Applied:
    """Roll back."""
    return ACTION.apply(ModelRollbackParams(to=to), key, make_context(service))


def test_it_previews_the_exact_change(flags: FlagServer) -> None:
    found = ACTION.preview(ModelRollbackParams(), make_context(flagged(flags.web.url)))
    assert found.sentence == "Roll back rag-chat: v43 → v42, 100 % of traffic, flag chat-model"
    assert (found.before["value"], found.after["value"], found.warnings) == ("v43", "v42", [])
    assert flags.puts == 0


def test_it_sets_the_flag_and_notes_it(flags: FlagServer) -> None:
    service = flagged(flags.web.url)
    done = apply(service)
    assert flags.value == "v42"
    assert done.summary == "Rolled back rag-chat: v43 → v42, 100 % of traffic, flag chat-model."
    assert (done.result["read_back"], done.result["repeat"]) == (True, False)
    serving = versions.serving(service)
    assert serving is not None
    assert serving.version == "v42"
    change = Change.objects.get()
    assert (change.effect_key, change.kind, change.version, change.service) == (KEY, "model", "v42", service)


def test_it_is_one_effect_under_one_key(flags: FlagServer) -> None:
    service = flagged(flags.web.url)
    apply(service)
    again = apply(service)
    assert (again.result["repeat"], flags.value, flags.puts) == (True, "v42", 1)
    assert Change.objects.count() == 1


def test_it_finishes_what_a_crash_left_behind(flags: FlagServer) -> None:
    service = flagged(flags.web.url)
    flags.value, flags.keys = "v42", [KEY]
    done = apply(service)
    assert (done.result["repeat"], done.result["from_version"], flags.puts) == (True, "v43", 0)
    assert Change.objects.get().effect_key == KEY


def test_it_refuses_when_that_version_serves_already(flags: FlagServer) -> None:
    service = flagged(flags.web.url)
    assert "serves already" in ACTION.preview(ModelRollbackParams(to="v43"), make_context(service)).warnings[0]
    with pytest.raises(Refused, match="already_there"):
        apply(service, to="v43")


def test_previous_does_not_lead_back_to_the_withdrawn_version(flags: FlagServer) -> None:
    service = flagged(flags.web.url)
    apply(service)
    previous = versions.previous(service)
    assert previous is not None
    assert previous.version == "v41"


def test_it_refuses_when_somebody_was_faster(flags: FlagServer) -> None:
    def meanwhile(asked: Asked) -> Reply | None:
        flags.value = "v44"
        return None

    flags.on_put = meanwhile
    with pytest.raises(Refused, match="from v43 to v44 meanwhile"):
        apply(flagged(flags.web.url))
    assert Change.objects.count() == 0


def test_it_takes_a_conflict_with_its_own_value_for_success(flags: FlagServer) -> None:
    def first_answer_lost(asked: Asked) -> Reply:
        flags.value = "v42"
        return Reply(b"", 409)

    flags.on_put = first_answer_lost
    assert apply(flagged(flags.web.url)).result["to_version"] == "v42"


@pytest.mark.parametrize(("status", "kind"), [(400, Refused), (403, Refused), (500, Ambiguous), (503, Ambiguous)])
def test_it_tells_a_no_from_a_doubt(flags: FlagServer, status: int, kind: type[Exception]) -> None:
    flags.on_put = lambda asked: Reply(b"", status)
    with pytest.raises(kind):
        apply(flagged(flags.web.url))


def test_it_is_in_doubt_when_no_answer_comes(flags: FlagServer, monkeypatch: pytest.MonkeyPatch) -> None:
    flags.on_put = lambda asked: Reply(b"not json")
    with pytest.raises(Ambiguous):
        apply(flagged(flags.web.url))


def test_it_is_in_doubt_when_the_flag_reads_differently(flags: FlagServer) -> None:
    flags.on_put = lambda asked: Reply(json.dumps({"name": "chat-model", "value": "v42"}).encode())
    with pytest.raises(Ambiguous, match="reads v43 now"):
        apply(flagged(flags.web.url))


def test_it_did_not_happen_when_nobody_listens() -> None:
    with pytest.raises(NotApplied):
        apply(flagged(unused_url()))


@pytest.mark.parametrize("to", ["v99", "previous"])
def test_it_did_not_happen_without_a_version(flags: FlagServer, to: str) -> None:
    service = flagged(flags.web.url)
    service.versions.filter(state="kept").update(state="retired")
    with pytest.raises(NotApplied, match="has no version"):
        apply(service, to=to)
    with pytest.raises(CheckError, match="has no version"):
        ACTION.preview(ModelRollbackParams(to=to), make_context(service))


def test_it_warns_of_what_speaks_against_it(flags: FlagServer) -> None:
    service = flagged(flags.web.url)
    service.versions.filter(version="v42").update(state="retired")
    flags.value = "v44"
    warnings = ACTION.preview(ModelRollbackParams(to="v42"), make_context(service)).warnings
    assert any("retired" in line for line in warnings)
    assert any("the flag says v44" in line for line in warnings)


def test_it_names_what_the_service_lacks(flags: FlagServer) -> None:
    service = flagged(flags.web.url)
    Connection.objects.update(connector="http_json")
    with pytest.raises(NotApplied, match="holds no flags"):
        apply(service)
    service.rollback = {}
    with pytest.raises(NotApplied, match="names no flag"):
        apply(service)


def test_it_works_with_a_flag_file(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings.BACKSTOP, "data_dir", tmp_path)
    service = flagged("https://unused.test")
    Connection.objects.update(connector="file_flag", config={"path": "flags.json"})
    FileFlag().create(FileFlagConfig(path="flags.json"), "chat-model", value="v43")
    apply(service)
    assert json.loads((tmp_path / "flags.json").read_text())["chat-model"]["value"] == "v42"

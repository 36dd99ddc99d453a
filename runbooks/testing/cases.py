"""The file of a runbook's tests, `<id>.test.yaml`: its shape, read strictly, with a code and a place for each fault."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from common import yaml
from common.yaml import Document, FileFaults, Finding, Path, nearest
from runbooks.fields import Duration, Id, Part, Principal, Verdict
from runbooks.steps import ManualStep, Step, WaitStep
from runbooks.testing.family import Family

SCHEMA_ID = "https://json-schema.org/draft/2020-12/schema"
Short = Annotated[str, StringConstraints(min_length=1, max_length=1_000)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.@-]{1,80}$")]
# A step of the runbook, or what takes one back (`undo-roll_back`); `call.look` is the step `look` of what `call` runs.
StepId = Annotated[str, StringConstraints(pattern=r"^([a-z][a-z0-9_]{0,39}\.){0,2}(undo-)?[a-z][a-z0-9_]{0,39}$")]
Ending = Literal["resolved", "not_resolved", "unverified", "no_action", "aborted", "cancelled", "expired"]
Fault = Literal["no_data", "429", "timeout", "worker_lost"]
# What somebody does to a step; each is a field of an event and a verb of the engine.
STEP_VERBS = ("approve", "reject", "answer", "override", "skip", "rerun", "worker_lost")
RUN_VERBS = ("cancel", "pause", "resume")


class TestFaults(FileFaults):
    """A test file that cannot be played; `findings` lists every fault in it."""

    __test__ = False


def _fault(value: object) -> object:
    return "429" if value == 429 else value


def _listed(value: object) -> object:
    return value if isinstance(value, list) else [value]


class Stub(Part):
    """What a check or action answers once, instead of the world; or how a runbook that a step runs ends."""

    value: Any = None
    result: dict[str, Any] = Field(default_factory=dict)
    samples: int | None = None
    age: Duration | None = None
    # For checks whose own statistics judge; elsewhere the runbook's rules do.
    verdict: Literal["pass", "fail", "inconclusive"] | None = None
    reason: Short | None = None
    summary: Short | None = None
    # It could not be measured, or surely was not applied; with `permanent` it is not tried again.
    error: Short | None = None
    permanent: bool = False
    fault: Annotated[Fault | None, BeforeValidator(_fault)] = None
    # "Not yet, ask again in …".
    pending: Duration | None = None
    # How long the call takes.
    takes: Duration | None = None
    # For actions: the other side said no; it may have happened; whether a look-up finds that it did.
    refused: Short | None = None
    unclear: Short | None = None
    found: bool | None = None
    before: dict[str, Any] = Field(default_factory=dict)
    after: dict[str, Any] = Field(default_factory=dict)
    # For a step that runs another runbook: how that ends, in place of being played, what it hands over, and whether it
    # changed something in the world. `reason` is why it stopped, `takes` how long it lasts.
    ends: Ending | None = None
    outputs: dict[Id, Any] = Field(default_factory=dict)
    changed: bool = False
    # With `foreach`: an answer, or a list of them, for each item.
    items: list[Annotated[list[Stub], BeforeValidator(_listed)]] = Field(default_factory=list, max_length=50)


Stubs = Annotated[list[Stub], Field(min_length=1, max_length=2_000), BeforeValidator(_listed)]


Element = Annotated[int, Field(ge=0)]


class Event(Part):
    """Something that somebody does, or that happens, a while after the start."""

    at: Duration
    approve: StepId | None = None
    reject: StepId | None = None
    answer: StepId | None = None
    override: StepId | None = None
    skip: StepId | None = None
    rerun: StepId | None = None
    worker_lost: StepId | None = None
    cancel: bool | None = None
    pause: bool | None = None
    resume: bool | None = None
    by: Name = "tester"
    # With `foreach`: which element; a list names one for each step on the way that has it, the outermost first.
    item: Element | list[Element] = 0
    fields: dict[str, Any] = Field(default_factory=dict)
    decision: str = ""
    verdict: Verdict | None = None
    note: str = ""
    reason: str = ""
    # It is expected that the engine says no to it.
    refused: bool = False

    @model_validator(mode="after")
    def _one_verb(self) -> Event:
        if len([verb for verb in (*STEP_VERBS, *RUN_VERBS) if getattr(self, verb)]) != 1:
            known = ", ".join((*STEP_VERBS, *RUN_VERBS))
            raise PydanticCustomError("one_verb", "An event does exactly one thing; known: {known}.", {"known": known})
        return self

    @property
    def verb(self) -> str:
        """What is done."""
        return next(verb for verb in (*STEP_VERBS, *RUN_VERBS) if getattr(self, verb))

    @property
    def step(self) -> str:
        """To which step; empty for the run."""
        return str(getattr(self, self.verb)) if self.verb in STEP_VERBS else ""


class Alert(Part):
    """The alert that comes in, as `alert` is read in expressions."""

    status: Literal["firing", "acknowledged", "resolved", "suppressed", "no_data"] = "firing"
    severity: Literal["critical", "high", "warning", "info", "unknown"] = "unknown"
    title: Short = "An alert of a test"
    description: str = ""
    service: str = ""
    environment: str = ""
    source: str = "generic"
    labels: dict[str, Any] = Field(default_factory=dict)


class ExpectedDiagnosis(Part):
    """What the causes come to."""

    top: str | None = None
    confidence_at_least: float | None = Field(None, ge=0, le=1)
    confidence_at_most: float | None = Field(None, ge=0, le=1)


class Expect(Part):
    """What must be true when the case is over. What is not named is not looked at."""

    # False: the alert matches no trigger, or the start is refused.
    starts: bool = True
    outcome: Literal["resolved", "not_resolved", "unverified", "no_action", "aborted"] | None = None
    state: Literal["queued", "active", "paused", "stopping", "finished", "cancelled", "expired"] | None = None
    # A part of the words with which the run says why it stopped, or the start why it was refused.
    because: Short | None = None
    verdicts: dict[StepId, Verdict] = Field(default_factory=dict)
    reasons: dict[StepId, str] = Field(default_factory=dict)
    # With `foreach`: the verdict of each element; empty for one that was cancelled.
    items: dict[StepId, list[Verdict | Literal[""]]] = Field(default_factory=dict)
    # What a step waits for where `until` cuts the case off: approval, human, lock, child, ask or time.
    waiting: dict[StepId, Literal["approval", "human", "lock", "child", "ask", "time"]] | None = None
    # Steps whose effect on the world was confirmed, in that order; and those that told somebody.
    effects: list[StepId] | None = None
    told: list[StepId] | None = None
    # Who was asked, escalations too.
    asked: dict[StepId, list[Principal]] = Field(default_factory=dict)
    attempts: dict[StepId, int] = Field(default_factory=dict)
    diagnosis: ExpectedDiagnosis | None = None
    outputs: dict[Id, Any] | None = None
    # From the start, to the second.
    finished_after: Duration | None = None


class Case(Part):
    """One story: how the run starts, what the world answers, who does what, and what must come of it."""

    name: Short
    inputs: dict[str, Any] = Field(default_factory=dict)
    alert: Alert | None = None
    started_by: Name = "starter"
    stubs: dict[StepId, Stubs] = Field(default_factory=dict)
    events: list[Event] = Field(default_factory=list, max_length=200)
    # Look at it after so long; without it the case is played to the run's end.
    until: Duration | None = None
    expect: Expect


class Tests(Part):
    """All tests of one runbook. `inputs` and `stubs` hold for every case that does not say otherwise."""

    __test__ = False

    runbook: Id
    inputs: dict[str, Any] = Field(default_factory=dict)
    stubs: dict[StepId, Stubs] = Field(default_factory=dict)
    # Who is in which groups; without it everybody named is in all that the runbook asks.
    people: dict[Name, list[Principal]] | None = None
    cases: list[Case] = Field(min_length=1, max_length=200)


def read(text: str, *, file: str) -> tuple[Tests, Document]:
    """The tests in `text`. Raises TestFaults, or YamlFaults, with everything that is wrong."""
    document = yaml.read(text, file=file)
    if not isinstance(document.data, dict):
        raise TestFaults(
            [Finding(file, 1, 1, "RT003", "error", "A test file is a map of fields.", "Start with `runbook: <id>`.")]
        )
    try:
        return Tests.model_validate(document.data), document
    except ValidationError as error:
        raise TestFaults(sorted({_finding(one, document) for one in error.errors(include_url=False)})) from None


def check(tests: Tests, document: Document, family: Family) -> list[Finding]:
    """What is wrong with the tests as tests of that runbook: steps that do not exist, stubs that do not fit."""
    return _Fit(tests, document, family).run()


class _Fit:
    """Tests against the runbook that they are about."""

    def __init__(self, tests: Tests, document: Document, family: Family) -> None:
        self.tests, self.document, self.family, self.spec = tests, document, family, family.top
        self.found: list[Finding] = []

    def run(self) -> list[Finding]:
        """Everything, in file order."""
        self._inputs(("inputs",), self.tests.inputs)
        self._stubs(("stubs",), self.tests.stubs)
        names: dict[str, int] = {}
        for index, case in enumerate(self.tests.cases):
            path: Path = ("cases", index)
            if case.name in names:
                self._note((*path, "name"), "RT007", f"Case {names[case.name] + 1} has this name too.", "Rename it.")
            names.setdefault(case.name, index)
            self._inputs((*path, "inputs"), case.inputs)
            self._stubs((*path, "stubs"), case.stubs)
            for number, event in enumerate(case.events):
                if event.step:
                    self._step((*path, "events", number, event.verb), event.step)
                    self._elements((*path, "events", number), event)
            self._expect((*path, "expect"), case.expect)
        return sorted(self.found)

    def _note(self, path: Path, code: str, message: str, fix: str) -> None:
        at = self.document.key_position(path)
        self.found.append(Finding(self.document.file, *at, code, "error", message, fix))

    def _step(self, path: Path, step_id: str) -> None:
        if self.family.step(step_id) is None:
            message = f"There is no step `{step_id}` in `{self.spec.id}`."
            self._note(path, "RT004", message, nearest(step_id, self.family.beside(step_id)))

    def _elements(self, path: Path, event: Event) -> None:
        spread = self.family.spread(event.step)
        if isinstance(event.item, list) and len(event.item) > len(spread):
            named = ", ".join(f"`{step}`" for step in spread) or "none"
            message = f"`item` names {len(event.item)} elements; `foreach` stands on the way at: {named}."
            self._note((*path, "item"), "RT006", message, "Name one for each, the outermost first.")

    def _inputs(self, path: Path, given: dict[str, Any]) -> None:
        for name in given:
            if name not in self.spec.inputs:
                known = list(self.spec.inputs)
                self._note((*path, name), "RT004", f"There is no input `{name}`.", nearest(name, known))

    def _stubs(self, path: Path, stubs: dict[str, list[Stub]]) -> None:
        for step_id, answers in stubs.items():
            self._step((*path, step_id), step_id)
            step = self.family.step(step_id)
            if isinstance(step, ManualStep | WaitStep):
                message = f"`{step_id}` is a {step.kind} step: nobody outside answers it."
                self._note((*path, step_id), "RT006", message, "Write an event, e.g. `{at: 5m, answer: …}`.")
            elif step is not None:
                for fault in _misfits(step, answers, is_spread=bool(self.family.spread(step_id))):
                    self._note((*path, step_id), "RT006", f"`{step_id}`: {fault}", "See the guide, “Tests”.")

    def _expect(self, path: Path, expect: Expect) -> None:
        for field in ("verdicts", "reasons", "items", "waiting", "asked", "attempts"):
            for step_id in getattr(expect, field) or {}:
                self._step((*path, field, step_id), step_id)
        for field in ("effects", "told"):
            for number, step_id in enumerate(getattr(expect, field) or []):
                self._step((*path, field, number), step_id)


# What a stub may say to which kind of step, besides what all may.
_MEANT_FOR = {
    "check": {"value", "samples", "age", "verdict", "pending"},
    "action": {"refused", "unclear", "found", "before", "after"},
    "runbook": {"ends", "outputs", "changed"},
}
# What another runbook never does: it answers nothing itself, its steps do.
_NOT_FOR_RUNBOOKS = {"result", "summary", "error", "permanent", "fault"}


def _misfits(step: Step, stubs: list[Stub], *, is_spread: bool) -> list[str]:
    """What a stub says that such a step never hears."""
    every = [*stubs, *(inner for stub in stubs for answers in stub.items for inner in answers)]
    wrong = {field for kind, fields in _MEANT_FOR.items() if kind != step.kind for field in fields}
    wrong |= _NOT_FOR_RUNBOOKS if step.kind == "runbook" else set()
    said = {field for stub in every for field in stub.model_fields_set & wrong}
    found = [f"`{field}` has no meaning for {step.kind} steps." for field in sorted(said)]
    if step.kind == "runbook" and any(stub.ends is None and not stub.items for stub in every):
        found.append("say how the other runbook `ends`, or leave the stub out to play it.")
    if any(stub.items for stub in stubs) and not is_spread:
        found.append("`items` are for steps with `foreach`.")
    if any(stub.items for stub in stubs) and (len(stubs) > 1 or stubs[0].model_fields_set != {"items"}):
        found.append("`items` stand alone; a list of answers is written for each of them.")
    return found


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of test files, for editors."""
    schema = Tests.model_json_schema(by_alias=True)
    # One answer may stand without its list.
    several = [schema["$defs"]["Stub"]["properties"]["items"]["items"]]
    for holder in (schema, *schema["$defs"].values()):
        several += holder["properties"].get("stubs", {}).get("patternProperties", {}).values()
    for many in several:
        one = {"anyOf": [dict(many["items"]), dict(many)]}
        many.clear()
        many.update(one)
    return {"$schema": SCHEMA_ID, "title": "Tests of a runbook", **{k: v for k, v in schema.items() if k != "title"}}


def _finding(error: ErrorDetails, document: Document) -> Finding:
    path = _path(error["loc"], document.data)
    name = str(error["loc"][-1]) if error["loc"] else ""
    kind = error["type"]
    if kind == "extra_forbidden":
        line, column = document.key_position(path)
        return Finding(document.file, line, column, "RT001", "error", f"There is no field `{name}` here.", _hint(error))
    if kind == "missing":
        line, column = document.key_position(path)
        return Finding(
            document.file, line, column, "RT002", "error", f"The field `{name}` is missing.", f"Add `{name}: …`."
        )
    line, column = document.position(path)
    message = error["msg"].removeprefix("Value error, ").rstrip(".")
    about = f"`{name}`: {message}" if isinstance(error["loc"][-1] if error["loc"] else 0, str) else message
    return Finding(document.file, line, column, "RT003", "error", f"{about[:300]}.", "See the guide, “Tests”.")


_KNOWN: dict[str, type[Part]] = {
    "stubs": Stub,
    "events": Event,
    "alert": Alert,
    "diagnosis": ExpectedDiagnosis,
    "expect": Expect,
    "cases": Case,
}


def _hint(error: ErrorDetails) -> str:
    """The nearest field of the innermost part that the location names."""
    words = [part for part in error["loc"][:-1] if isinstance(part, str)]
    model = next((_KNOWN[word] for word in reversed(words) if word in _KNOWN), Tests)
    return nearest(str(error["loc"][-1]), list(model.model_fields))


def _path(location: tuple[int | str, ...], data: Any) -> Path:
    """A pydantic location as a path in the document: without the index of an answer that stands without its list."""
    path: list[int | str] = []
    for part in location:
        if isinstance(data, dict):
            if isinstance(part, int) or part == "[key]":
                continue
            data = data.get(part)
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        path.append(part)
    return tuple(path)

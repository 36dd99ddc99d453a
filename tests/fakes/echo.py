"""A check and an action that repeat what they were given in every way that another side can."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, ClassVar
from urllib.parse import quote

from runbooks.actions import ACTIONS
from runbooks.actions.base import Action, Ambiguous, Applied, EffectClass, NotApplied, Preview, Refused, Risk
from runbooks.checks import CHECKS
from runbooks.checks.base import Check, CheckError, Context, Finding, Params


class EchoParams(Params):
    """Something secret, and how to answer."""

    token: str
    headers: dict[str, str] = {}
    how: str = "found"


def said(params: EchoParams) -> str:
    """What was given, in all the forms in which it could come back."""
    parts = [params.token, *params.headers.values()]
    forms: list[Callable[[str], str]] = [
        str,
        lambda text: base64.b64encode(f"user:{text}".encode()).decode(),
        lambda text: quote(text, safe=""),
        json.dumps,
    ]
    return " ".join(form(part) for part in parts for form in forms)


class Echo(Check[EchoParams]):
    """Repeats it in a finding or an error."""

    name: ClassVar[str] = "echo.ask"
    title: ClassVar[str] = "Repeat"
    params = EchoParams

    def __init__(self, heard: list[EchoParams]) -> None:
        self.heard = heard

    def run(self, params: EchoParams, context: Context) -> Finding:
        """As asked."""
        self.heard.append(params)
        text = said(params)
        if params.how == "refused":
            raise CheckError("refused", f"Refused: {text}")
        if params.how == "crashed":
            raise RuntimeError(text)
        return Finding(text, f"It says {text}.", query=text, source=text, result={"said": text, params.token: [text]})


class EchoAct(Action[EchoParams]):
    """Repeats it before, while and after it acts."""

    name: ClassVar[str] = "echo.act"
    title: ClassVar[str] = "Repeat and act"
    effect_class: ClassVar[EffectClass] = "set"
    risk: ClassVar[Risk] = "low"
    params = EchoParams

    def __init__(self, heard: list[EchoParams]) -> None:
        self.heard = heard

    def preview(self, params: EchoParams, context: Context) -> Preview:
        """Everything that people are shown."""
        text = said(params)
        return Preview(f"Set {text}", {"was": text}, {"is": text}, [("line", text)], [text])

    def apply(self, params: EchoParams, key: str, context: Context) -> Applied:
        """As asked."""
        self.heard.append(params)
        text = said(params)
        raised: dict[str, Exception] = {
            "refused": Refused(text),
            "not_applied": NotApplied(text),
            "ambiguous": Ambiguous(text),
            "crashed": RuntimeError(text),
        }
        if params.how in raised:
            raise raised[params.how]
        return Applied(f"Set {text}.", {"was": text}, {"is": text}, {"said": text})


@contextmanager
def echoing() -> Iterator[list[Any]]:
    """The engine knows echo.ask and echo.act for a while; what they were given is in the list."""
    heard: list[EchoParams] = []
    with ExitStack() as stack:
        stack.enter_context(CHECKS.including(Echo(heard)))
        stack.enter_context(ACTIONS.including(EchoAct(heard)))
        yield heard

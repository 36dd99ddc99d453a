"""result.test: a verdict on something that an earlier step already measured."""

from __future__ import annotations

from typing import Any, ClassVar

from runbooks.checks.base import Check, Context, Finding, Params


class ResultTestParams(Params):
    """What to judge, usually `{{ steps.<id>.result… }}`."""

    value: Any = None
    unit: str = ""


class ResultTest(Check[ResultTestParams]):
    """A verdict on something that an earlier step already measured; it asks nobody.

    Hypotheses count verdicts, and one step gives one verdict. Where one measurement answers two questions (did one
    slice get worse? did another?), this turns a part of its result into a verdict of its own.

    **value** is the value given. Samples and age are not given. There is no own verdict: write `pass_if` or `fail_if`.
    Nothing (null, an empty list, NaN) follows `no_data`. **result** keys: `value`.
    """

    name: ClassVar[str] = "result.test"
    title: ClassVar[str] = "Judge an earlier result"
    example: ClassVar[dict[str, Any]] = {"value": "{{ steps.by_version.result.delta }}"}
    params = ResultTestParams

    def run(self, params: ResultTestParams, context: Context) -> Finding:
        """Hand the value to the step's rules."""
        text = params.value if isinstance(params.value, str) else repr(params.value)
        tail = f" {params.unit}" if params.unit else ""
        shown = text if len(text) <= 200 else text[:200] + "…"
        return Finding(params.value, f"The value is {shown}{tail}.", unit=params.unit, result={"value": params.value})

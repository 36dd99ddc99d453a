"""http.json: one value out of a JSON answer."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

from pydantic import Field

from runbooks.checks.base import Check, Context, Finding, Params
from runbooks.checks.reaching import Missing, get, pick

# What fits on an evidence card.
_SHOWN = 200


class HttpJsonParams(Params):
    """Which connection, which address on it, and the way to the value."""

    connection: str
    # The value: names and list positions joined by dots; `#` at the end is the length of a list.
    path: str = Field("", max_length=300)
    # What is added to the connection's address, and its query.
    address: str = Field("", max_length=500, pattern=r"^(/[!-~]*)?$")
    params: dict[str, str] = Field(default_factory=dict, max_length=20)
    unit: str = ""


class HttpJsonCheck(Check[HttpJsonParams]):
    """One value out of a JSON answer: the status of a job, a queue's length, a provider's indicator.

    **value** is what stands at `path` (`status.indicator`, `jobs.0.state`, `queue.#`). **samples** is not given.
    **age** is 0 unless a cache on the way says how old its copy is (header `Age`). There is no own verdict: give
    `pass_if` or `fail_if`. A path that leads to nothing is no data (`no_data`), not false and not zero; an answer that
    is no JSON, or of status 300 and more, is an error (`bad_answer`, `auth`, `not_found`, `limit`, `unavailable`).

    **result** keys: `value`, `status` (of HTTP), `address`, and `around` (the part of the answer that holds the value,
    when it is small).
    """

    name: ClassVar[str] = "http.json"
    title: ClassVar[str] = "Read a value over HTTP"
    gives_age: ClassVar[bool] = True
    example: ClassVar[dict[str, Any]] = {"connection": "llm-status", "path": "status.indicator"}
    params = HttpJsonParams

    def run(self, params: HttpJsonParams, context: Context) -> Finding:
        """Ask once and pick the value."""
        found = get(context, params.connection, params.address, params.params or None)
        age = found.answer.headers.get("age", "")
        observed = context.now - timedelta(seconds=min(float(age), 1e9) if age.isdecimal() else 0)
        fields: dict[str, Any] = {
            "observed_at": observed,
            "query": f"{params.address or '/'} → {params.path or 'the whole answer'}",
            "source": params.connection,
            "unit": params.unit,
        }
        result = {"status": found.answer.status, "address": found.url}
        try:
            value = pick(found.data, params.path)
            around = pick(found.data, params.path.rpartition(".")[0])
        except Missing as missing:
            result["value"] = None
            return Finding(None, f"{missing}", reason="no_data", no_data=True, result=result, **fields)
        result["value"] = value
        if len(str(around)) <= 4000:
            result["around"] = around
        text = value if isinstance(value, str) else repr(value)
        shown = text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
        return Finding(
            value,
            f"{params.path or 'The answer'} is {shown}{' ' + params.unit if params.unit else ''}.",
            result=result,
            **fields,
        )

"""status.poll: what a provider says about itself."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from runbooks.checks.base import Check, CheckError, Context, Finding, Params
from runbooks.checks.reaching import get

# Words of the Statuspage v2 API, from good to bad.
_COMPONENT = {
    "operational": 0,
    "under_maintenance": 1,
    "degraded_performance": 2,
    "partial_outage": 3,
    "major_outage": 4,
}
_INDICATOR = {"none": 0, "maintenance": 1, "minor": 1, "major": 3, "critical": 4}


class StatusPollParams(Params):
    """Which page, and which of its components we use."""

    connection: str
    components: list[str] = Field(default_factory=list, max_length=20)
    address: str = Field("/api/v2/summary.json", max_length=300, pattern=r"^/[!-~]*$")


class StatusPoll(Check[StatusPollParams]):
    """What a provider's status page says, for the components that we use (Statuspage v2, `summary.json`).

    Name the `components` that your service calls: **fail** when one of them is degraded or out, **pass** when all are
    operational, **inconclusive** under maintenance (`maintenance`). Without components the page's indicator counts:
    `none` passes, `major` and `critical` fail, `minor` and `maintenance` are inconclusive (`maybe_not_ours`), because
    what is wrong there may not be ours. A green page proves little, as pages lag: put a check of your own error rate
    beside it. A component that the page does not list is an error (`no_component`), and so is an answer that is no
    status page (`bad_answer`).

    **value** is the worst word found, such as `operational` or `partial_outage` (without components the indicator).
    **age** is 0: the page was read now. Samples are not given. **result** keys: `indicator`, `description`,
    `components` (`{name: status}` of the watched ones, or of all that are not well), `incidents` (titles of open ones),
    `maintenances`, `updated_at` as the page says, `table`.
    """

    name: ClassVar[str] = "status.poll"
    title: ClassVar[str] = "Ask a status page"
    gives_verdict: ClassVar[bool] = True
    gives_age: ClassVar[bool] = True
    example: ClassVar[dict[str, Any]] = {"connection": "llm-status", "components": ["API"]}
    params = StatusPollParams

    def run(self, params: StatusPollParams, context: Context) -> Finding:
        """Read the page and judge what concerns us."""
        page = get(context, params.connection, params.address).data
        if not isinstance(page, dict) or not ("components" in page or "status" in page):
            raise CheckError("bad_answer", "The answer is not a status page's summary.", permanent=True)
        status = page.get("status") if isinstance(page.get("status"), dict) else {}
        states = _states(page.get("components"))
        incidents = _names(page.get("incidents"))
        watched = _watched(states, params.components)
        verdict, value, reason = _of_components(watched) if params.components else _of_page(status, states)
        result = {
            "indicator": str((status or {}).get("indicator", "")),
            "description": str((status or {}).get("description", "")),
            "components": watched or {name: state for name, state in states.items() if state != "operational"},
            "incidents": incidents,
            "maintenances": _names(page.get("scheduled_maintenances")),
            "updated_at": str(
                ((page.get("page") or {}) if isinstance(page.get("page"), dict) else {}).get("updated_at", "")
            ),
            "table": [{"component": name, "status": state} for name, state in (watched or states).items()][:50],
        }
        about = f" Open there: {'; '.join(incidents[:3])}." if incidents else ""
        which = ", ".join(f"{name}: {_words(state)}" for name, state in watched.items()) or f"overall: {_words(value)}"
        return Finding(
            value,
            f"The status page of {params.connection} says {which}.{about}",
            verdict=verdict,
            reason=reason,
            no_data=value is None,
            observed_at=context.now,
            source=params.connection,
            query=params.address,
            threshold={"value": "operational", "source": "Statuspage v2"},
            result=result,
        )


def _states(rows: Any) -> dict[str, str]:
    """Each component's state by name; a group's row only repeats its members and is left out."""
    found: dict[str, str] = {}
    for row in rows if isinstance(rows, list) else []:
        if isinstance(row, dict) and isinstance(row.get("name"), str) and not row.get("group"):
            state = str(row.get("status", "unknown"))
            before = found.get(row["name"])
            # Two regions may share a name: the worse one is told.
            if before is None or _COMPONENT.get(state, 2) > _COMPONENT.get(before, 2):
                found[row["name"]] = state
    return found


def _names(rows: Any) -> list[str]:
    return (
        [str(row["name"])[:200] for row in rows if isinstance(row, dict) and "name" in row][:20]
        if isinstance(rows, list)
        else []
    )


def _watched(states: dict[str, str], wanted: list[str]) -> dict[str, str]:
    by_lower = {name.casefold(): name for name in states}
    found = {}
    for name in wanted:
        real = by_lower.get(name.casefold())
        if real is None:
            known = ", ".join(list(states)[:12]) or "none"
            raise CheckError(
                "no_component", f"The page lists no component {name!r} (it lists: {known}).", permanent=True
            )
        found[real] = states[real]
    return found


def _of_components(watched: dict[str, str]) -> tuple[str, str | None, str]:
    worst = max(watched.values(), key=lambda state: _COMPONENT.get(state, 2))
    level = _COMPONENT.get(worst, 2)
    if worst not in _COMPONENT:
        return "inconclusive", worst, "unknown_state"
    if level == 1:
        return "inconclusive", worst, "maintenance"
    return ("pass" if level == 0 else "fail"), worst, ""


def _of_page(status: Any, states: dict[str, str]) -> tuple[str, str | None, str]:
    indicator = status.get("indicator") if isinstance(status, dict) else None
    if not isinstance(indicator, str):
        if not states:
            return "inconclusive", None, "no_data"
        # Look-alikes leave the indicator out; the components then speak for it, though perhaps not for us.
        verdict, worst, _ = _of_components(states)
        return ("pass", worst, "") if verdict == "pass" else ("inconclusive", worst, "maybe_not_ours")
    level = _INDICATOR.get(indicator)
    if level is None:
        return "inconclusive", indicator, "unknown_state"
    if level == 1:
        return "inconclusive", indicator, "maybe_not_ours"
    return ("pass" if level == 0 else "fail"), indicator, ""


def _words(state: str | None) -> str:
    return (state or "nothing").replace("_", " ")

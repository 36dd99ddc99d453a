"""change.rank: what was changed before it began, the likeliest cause first."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar

from pydantic import AwareDatetime, Field

from catalog import changes
from catalog.models import Change
from runbooks.checks.base import Check, CheckError, Context, Finding, Params
from runbooks.checks.durations import Duration, words
from runbooks.checks.measuring import stamp
from runbooks.checks.numbers import percent
from runbooks.checks.ranking import Candidate, Ranked, rank

# A named suspect needs more than half; our own: below a fifth for all together nothing recorded is a likely cause.
_SUSPECT = 0.5
_CLEARED = 0.2


class ChangeRankParams(Params):
    """What counts as a change, and what is known about the trouble."""

    lookback: Duration = 72 * 3600
    half_life: Duration = 1800
    kinds: list[str] = Field(default_factory=list, max_length=10)
    # When it began, if another step knows better than the incident.
    onset: AwareDatetime | None = None
    uncertainty: Duration | None = None
    # Labels of the affected traffic, such as {tenant: acme}; labels that a change does not name say nothing about it.
    affected: dict[str, str | list[str]] = Field(default_factory=dict)
    # What other steps implicate or exonerate: a change's id or external id, a version, or a kind.
    implicates: list[str] = Field(default_factory=list, max_length=50)
    exonerates: list[str] = Field(default_factory=list, max_length=50)


class ChangeRank(Check[ChangeRankParams]):
    """What was changed before the trouble began, the likeliest cause first.

    Each change of the service (or of the team, bound to no service) in `lookback` gets a posterior from how often its
    kind causes incidents, how long before the onset it was finished (`half_life`), how well its labels match the
    `affected` traffic, and what other steps say (`implicates`, `exonerates`: twenty times more or less likely). A
    constant 0.15 stays with causes that nobody recorded. Changes that Backstop itself made are listed but not ranked.

    **fail** when the top change has a posterior of 0.5 and more: a named suspect, which is a reason to look and never
    enough to act on. **pass** when all recorded changes together have less than 0.2. Otherwise **inconclusive**; also
    when no change was ever reported for this team (`no_data`), because then silence means nothing.

    **value** is the top posterior (0 without any change). **samples** is how many changes were ranked; there is no age.
    **result** keys: `top` (a row or null), `changes` (rows: `change`, `id`, `external_id`, `kind`, `version`, `author`,
    `at`, `gap_seconds`, `prior`, `time`, `reach`, `evidence`, `posterior`, `link`), `table` (the same, at most 20),
    `p_unknown`, `onset`, `own` (what Backstop changed itself), `notes` (clocks that disagree).
    """

    name: ClassVar[str] = "change.rank"
    title: ClassVar[str] = "What changed before?"
    gives_verdict: ClassVar[bool] = True
    gives_samples: ClassVar[bool] = True
    example: ClassVar[dict[str, Any]] = {"lookback": "72h", "half_life": "30m", "kinds": ["model", "prompt"]}
    params = ChangeRankParams

    def run(self, params: ChangeRankParams, context: Context) -> Finding:
        """Rank what was recorded."""
        if context.service is None:
            raise CheckError("no_service", "The run has no service, so its changes are unknown.", permanent=True)
        unknown = set(params.kinds) - {kind for kind, _ in Change.KINDS}
        if unknown:
            raise CheckError("bad_param", f"There is no kind of change named {min(unknown)!r}.", permanent=True)
        onset = params.onset or context.onset or context.now
        found = changes.before(context.service, until=context.now, hours=_hours(params.lookback, context.now, onset))
        found = [row for row in found if not params.kinds or row.kind in params.kinds]
        foreign = [row for row in found if not row.effect_key]
        ranking = rank(
            [_candidate(row, params) for row in foreign],
            onset,
            half_life=timedelta(seconds=params.half_life),
            uncertainty=timedelta(seconds=params.uncertainty or 0),
            affected=_sets(params.affected),
        )
        by_key = {str(row.uuid): row for row in foreign}
        rows = [_row(by_key[ranked.key], ranked) for ranked in ranking.rows]
        result: dict[str, Any] = {
            "top": rows[0] if rows else None,
            "changes": rows[:50],
            "table": rows[:20],
            "p_unknown": ranking.p_unknown,
            "onset": onset.isoformat(),
            "own": [f"{stamp(row.occurred_at)} {row.summary}" for row in found if row.effect_key],
            "notes": _notes(foreign),
        }
        return _judged(context, params, onset, rows, result, ranking.p_unknown)


def _judged(
    context: Context,
    params: ChangeRankParams,
    onset: datetime,
    rows: list[dict[str, Any]],
    result: dict[str, Any],
    p_unknown: float,
) -> Finding:
    span = words(params.lookback)
    fields: dict[str, Any] = {
        "samples": len(rows),
        "result": result,
        "window_from": onset - timedelta(seconds=params.lookback),
        "window_to": context.now,
        "source": "changes",
        "threshold": {"value": _SUSPECT, "source": "ml-checks.md §1 A; 0.2 is our own"},
    }
    if not rows:
        if not Change.objects.filter(team=context.team).exists():
            why = "No change was ever reported to this team, so that none is known means nothing."
            return Finding(None, why, verdict="inconclusive", reason="no_data", no_data=True, **fields)
        return Finding(0.0, f"No change was recorded in the {span} before the onset.", verdict="pass", **fields)
    top = rows[0]
    among = f"likeliest cause among {len(rows)} recorded changes" if len(rows) > 1 else "only recorded change"
    lead = f"{top['change']}, {_when(top['gap_seconds'])}, is the {among}: {percent(top['posterior'])}; "
    lead += f"something unrecorded: {percent(p_unknown)}."
    if top["posterior"] >= _SUSPECT:
        return Finding(top["posterior"], lead, verdict="fail", **fields)
    if 1 - p_unknown < _CLEARED:
        cleared = f"{top['change']} is the only recorded change and not a likely cause ({percent(1 - p_unknown)})."
        if len(rows) > 1:
            cleared = f"None of the {len(rows)} recorded changes is a likely cause ({percent(1 - p_unknown)} together)."
        return Finding(top["posterior"], cleared, verdict="pass", **fields)
    return Finding(top["posterior"], lead, verdict="inconclusive", reason="no_clear_suspect", **fields)


def _hours(lookback: int, now: datetime, onset: datetime) -> int:
    """The look-back is counted from the onset; changes since then are shown too, with time factor 0."""
    return max(1, round((lookback + max(0.0, (now - onset).total_seconds())) / 3600 + 0.5))


def _when(gap: float) -> str:
    return f"{words(gap)} before the onset" if gap >= 0 else f"{words(-gap)} after the onset"


def _candidate(row: Change, params: ChangeRankParams) -> Candidate:
    names = {str(row.uuid), row.kind, *filter(None, (row.external_id, row.version))}
    labels: dict[str, Any] = dict(row.labels)
    kind = "hardware" if row.kind == "library_hardware" and labels.pop("part", "") == "hardware" else row.kind
    if row.environment:
        labels.setdefault("environment", row.environment)
    return Candidate(
        key=str(row.uuid),
        kind=kind,
        at=row.occurred_at,
        exposed=_sets(labels),
        implicated=not names.isdisjoint(params.implicates),
        exonerated=not names.isdisjoint(params.exonerates),
    )


def _sets(labels: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    """Label values as sets; a comma separates several in a text."""
    found = {}
    for key, value in labels.items():
        parts = value if isinstance(value, list) else str(value).split(",")
        values = frozenset(str(part).strip() for part in parts if str(part).strip())
        if values:
            found[key] = values
    return found


def _row(change: Change, ranked: Ranked) -> dict[str, Any]:
    return {
        "change": change.summary,
        "id": str(change.uuid),
        "external_id": change.external_id,
        "kind": change.kind,
        "version": change.version,
        "author": change.author,
        "at": change.occurred_at.isoformat(),
        "gap_seconds": round(ranked.gap),
        "prior": round(ranked.prior, 4),
        "time": round(ranked.time, 4),
        "reach": round(ranked.reach, 4),
        "evidence": ranked.evidence,
        "posterior": round(ranked.posterior, 6),
        "link": change.link,
    }


def _notes(rows: list[Change]) -> list[str]:
    """Senders whose clock runs ahead of ours make the order of change and onset doubtful."""
    ahead = [row for row in rows if row.occurred_at > row.received_at + timedelta(minutes=1)]
    return [
        f"{row.source} told {row.summary!r} with a time in the future, by "
        f"{words((row.occurred_at - row.received_at).total_seconds())}: its clock differs from ours."
        for row in ahead[:5]
    ]

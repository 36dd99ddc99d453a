"""What a decision rests on: what to expect, how long it takes, whom it touches, what waiting costs, what was checked.

Each fact is read from rows that exist; what nobody knows is told as None and reads "unknown" on the page.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Any

from django.db.models import Avg, Count

from catalog.models import Change, ModelVersion, Service, Signal
from evaluations.models import Evaluation
from incidents import texts
from incidents.models import Alert, Evidence
from runbooks import reading, rechecking, repeating
from runbooks.models import ApprovalRequest, Effect, Run, StepRun
from web.pages import words

# So many earlier times say how long it takes.
TIMES = 20
# The clock of an applied change stands for so long.
CLOCK = timedelta(minutes=5)


@dataclass(frozen=True)
class Fact:
    """One line: what it is about and what is known of it; `text` None is "unknown", `at` is its age."""

    label: str
    text: str | None
    at: datetime | None = None
    glyph: str = ""
    word: str = ""
    url: str = ""


@dataclass(frozen=True)
class Stage:
    """One stage of what happens after a yes: when it was reached, how long after the yes, and what is known of it."""

    word: str
    at: datetime | None
    after: float | None
    note: str = ""

    @property
    def done(self) -> bool:
        """Whether it was reached."""
        return self.at is not None


def target_version(row: ApprovalRequest) -> ModelVersion | None:
    """The model version that the action leads to, as the catalog knows it."""
    after, service = row.preview.get("after"), row.step_run.run.service
    if not isinstance(after, dict) or service is None:
        return None
    wanted = after.get("version") or after.get("value")
    return service.versions.filter(version=wanted).first() if isinstance(wanted, str) else None


def leaving_version(row: ApprovalRequest) -> str:
    """The version that would be taken out; empty where the action is about no version."""
    before = row.preview.get("before")
    value = before.get("value") if isinstance(before, dict) else None
    return value if isinstance(value, str) else ""


def if_you_do(row: ApprovalRequest) -> list[Fact]:
    """Expected effect, how long it took before, whom it touches, what is lost."""
    run = row.step_run.run
    return [
        Fact("Expect", _expected(row)),
        Fact("Takes", _usual_time(row)),
        Fact("Touches", _touched(run.service)),
        Fact("Lost", _lost(row)),
    ]


def _expected(row: ApprovalRequest) -> str | None:
    """What the comparison that speaks for it says of the target; else what the action says of itself."""
    target = target_version(row)
    run = row.step_run.run
    compared = run.steps.filter(provider="eval.compare", verdict="fail").exclude(result=None).last()
    found = compared.result if compared is not None and isinstance(compared.result, dict) else {}
    if target is not None and found.get("old_version") == target.version and found.get("old_score") is not None:
        return (
            f"{target.version} scored {_number(found['old_score'])} where {found.get('new_version')} scores "
            f"{_number(found.get('new_score'))}, on the same {found.get('n') or 0:,} questions"
        )
    return f"{target.version} serves all traffic; how well is not measured" if target is not None else None


def _usual_time(row: ApprovalRequest) -> str | None:
    """The median from sent to confirmed of the last times, of this service if there were any."""
    run = row.step_run.run
    done = Effect.objects.filter(
        provider=row.step_run.provider, state="confirmed", step_run__run__team=run.team_id, sent_at__isnull=False
    ).exclude(step_run=row.step_run_id)
    mine = done.filter(step_run__run__service=run.service_id)
    rows = list((mine if mine.exists() else done).order_by("-id").values_list("sent_at", "ended_at")[:TIMES])
    took = [(ended - sent).total_seconds() for sent, ended in rows if ended is not None and sent is not None]
    if not took:
        return None
    where = "here" if mine.exists() else "in this team"
    return f"{_span(median(took))} (median of the last {len(took)} {where}, n = {len(took)})"


def _touched(service: Service | None) -> str | None:
    """Tenants and requests in flight are known to nobody here; who stands on the service is."""
    if service is None:
        return None
    above = list(service.needed_by.values_list("slug", flat=True)[:10])
    relies = f"{', '.join(above)} rely on it" if above else "no service of the catalog relies on it"
    return f"all traffic of {service.slug}; {relies}; tenants and requests in flight unknown"


def _lost(row: ApprovalRequest) -> str | None:
    """What came with the version that is taken out: the changes noted with it."""
    service, leaving = row.step_run.run.service, leaving_version(row)
    if service is None or not leaving:
        return None
    version = service.versions.filter(version=leaving).first()
    brought = list(Change.objects.filter(service=service, version=leaving).values_list("summary", flat=True)[:3])
    if version is not None and version.note:
        brought.append(version.note)
    return f"what {leaving} brought: {'; '.join(dict.fromkeys(brought))}" if brought else None


def if_you_do_not(row: ApprovalRequest) -> list[Fact]:
    """How long it has been, whether it still is so, and what an hour of it costs."""
    run = row.step_run.run
    incident = run.incident
    facts = []
    if incident is not None:
        onset = incident.onset_at or incident.started_at
        firing = incident.alerts.filter(status__in=Alert.GOING_ON).count()
        still = f"{texts.span(row.requested_at - onset)} when asked"
        facts.append(Fact("Lasts", f"{still}; {firing or 'no'} alert{'' if firing == 1 else 's'} firing", onset))
    now = _worst_signal(run)
    facts.append(Fact("Stays at", now.summary if now else None, _age(now)))
    facts.append(Fact("Damage per hour", _cost(run)))
    return facts


def _worst_signal(run: Run) -> Evidence | None:
    return Evidence.objects.filter(run_id=run.pk, kind="check", verdict="fail", provider__startswith="metric.").last()


def _cost(run: Run) -> str | None:
    """What the service's cost signal read in this run, if a check looked at it and found it worse."""
    if run.service is None or not Signal.objects.filter(service=run.service, name="cost").exists():
        return None
    looked = Evidence.objects.filter(run_id=run.pk, kind="check", verdict="fail", params__signal="cost").last()
    return looked.summary if looked is not None else None


def checked(row: ApprovalRequest) -> list[Fact]:
    """What was looked at before asking: the checks it rests on, and whether the target is fit to serve."""
    step, run = row.step_run, row.step_run.run
    facts = []
    for check in run.steps.filter(kind="check", step__in=repeating.speaks_for(run, step)):
        look = words.step_face(check)
        # What it found stands under Why where it found a problem.
        said = "" if check.verdict == "fail" else check.summary
        facts.append(Fact(check.name, said, check.settled_at, look.glyph, look.word))
    target = target_version(row)
    if target is not None:
        facts += [_ready(target), _evaluated(target), _served(target, row.requested_at)]
    return facts


def rechecks(row: ApprovalRequest) -> list[Fact]:
    """The checks that are asked again right before it is applied, and what they said once they were."""
    step, run = row.step_run, row.step_run.run
    wanted = reading.step_of(run, step).recheck
    said = Evidence.objects.filter(run_id=run.pk, step=step.step, kind=rechecking.KIND)
    newer = ApprovalRequest.objects.filter(step_run=step, pk__gt=row.pk).order_by("pk").first()
    if newer is not None:
        said = said.filter(created_at__lt=newer.requested_at)
    # Of several tries the last one decided.
    asked = {item.params.get("check"): item for item in said.filter(created_at__gte=row.requested_at).order_by("pk")}
    facts = []
    for check in run.steps.filter(kind="check", step__in=wanted).order_by("position"):
        found = asked.get(check.step)
        if found is None:
            facts.append(Fact(check.name, "", None, "queued", "Not yet"))
            continue
        was = words.VERDICTS.get(found.params.get("was", ""), "unknown")
        before = "as before" if found.verdict == found.params.get("was") else f"{was} before"
        word = words.VERDICTS.get(found.verdict, found.verdict)
        facts.append(Fact(check.name, f"{before}: {found.summary}", found.created_at, found.verdict, word))
    return facts


def unsent(row: ApprovalRequest, effect: Effect | None) -> str:
    """Why an approved action was not sent, and will not be by this request; "" where it was or still may be."""
    step = row.step_run
    if row.state != "approved" or effect is not None:
        return ""
    if step.generation > row.generation:
        return "Nothing was applied by this request; the step was taken up anew."
    # Where the service's level was made stricter meanwhile, it became a suggestion.
    if step.reason == "stale_evidence" or step.blocked_on == "human":
        return step.summary
    return f"Nothing was applied: {step.summary or words.reason(step.reason)}" if step.is_terminal else ""


def _ready(target: ModelVersion) -> Fact:
    fit = {
        "kept": ("pass", "Ready"),
        "serving": ("inconclusive", "Serves already"),
        "canary": ("inconclusive", "Canary"),
    }
    glyph, word = fit.get(target.state, ("error", "Retired"))
    return Fact(f"{target.version} is there", f"the catalog says {target.state}", None, glyph, word)


def _evaluated(target: ModelVersion) -> Fact:
    label = f"{target.version} evaluated"
    done = Evaluation.objects.filter(service=target.service_id, version=target.version, state="done").first()
    if done is None:
        return Fact(label, None)
    found = done.scores.filter(score__isnull=False).aggregate(mean=Avg("score"), n=Count("pk"))
    if not found["n"]:
        return Fact(label, None)
    return Fact(label, f"{_number(found['mean'])} on {done.evaluation_set.slug}, n = {found['n']:,}", done.finished_at)


def _served(target: ModelVersion, now: datetime) -> Fact:
    label = f"{target.version} served"
    if target.served_from is None:
        return Fact(label, "never, as far as the catalog knows")
    if target.state == "serving":
        return Fact(label, f"since {target.served_from:%d %b %H:%M} UTC, still does")
    if target.served_to is None:
        return Fact(label, f"from {target.served_from:%d %b %Y %H:%M} UTC; until when is unknown")
    took = texts.span(target.served_to - target.served_from)
    return Fact(label, f"{took}, until {target.served_to:%d %b %H:%M} UTC", target.served_to)


def undo(row: ApprovalRequest) -> tuple[str, str]:
    """How it is taken back, and the parameters of the act that does it; ("", "") where nobody wrote down a way."""
    step = reading.step_of(row.step_run.run, row.step_run).step
    leaving = leaving_version(row)
    if row.step_run.provider == "model.rollback" and leaving:
        return f"Let {leaving} serve again, by the same flag; it stays in the registry.", f"in-to={leaving}"
    return str(getattr(step, "irreversible", "") or ""), ""


def escalations(row: ApprovalRequest) -> list[tuple[datetime, str, bool]]:
    """When who else is asked, and whether that has happened."""
    levels = reading.step_of(row.step_run.run, row.step_run).escalations
    return [
        (row.requested_at + timedelta(seconds=level.after), level.to, place < row.step_run.escalated)
        for place, level in enumerate(levels)
    ]


def stages(row: ApprovalRequest, effect: Effect | None) -> list[Stage]:
    """Approved, sent, confirmed, traffic moved, signal back: each with its time once it was reached."""
    yes = row.closed_at
    if row.state != "approved" or yes is None:
        return []
    confirmed = effect.ended_at if effect is not None and effect.state == "confirmed" else None
    moved, where = _moved(row, effect) if confirmed else (None, "")
    back, what = _signal_back(row, confirmed) if confirmed else (None, "")
    reached = [
        ("Approved", yes, ""),
        ("Sent", effect.sent_at if effect is not None else None, ""),
        ("Confirmed", confirmed, ""),
        ("Traffic moved", moved, where),
        ("Signal back", back, what),
    ]
    return [Stage(word, at, (at - yes).total_seconds() if at else None, note) for word, at, note in reached]


def _moved(row: ApprovalRequest, effect: Effect | None) -> tuple[datetime | None, str]:
    """Whether the flag read back as set and the catalog says that the version serves: a share is measured by nobody."""
    target = target_version(row)
    if effect is None or target is None:
        return None, "not measured for this action"
    result = row.step_run.result if isinstance(row.step_run.result, dict) else {}
    if target.state == "serving" and result.get("read_back"):
        return effect.ended_at, f"the flag reads {target.version} for all traffic; the share served is not measured"
    return None, "the flag could not be read back"


def _signal_back(row: ApprovalRequest, since: datetime) -> tuple[datetime | None, str]:
    """The first sign that it helped: a verifying check that passed, or the last alert resolved."""
    run = row.step_run.run
    passed = run.steps.filter(phase="verify", kind="check", verdict="pass", settled_at__gte=since)
    first: StepRun | None = passed.order_by("settled_at").first()
    found = [(first.settled_at, first.summary or first.name)] if first is not None and first.settled_at else []
    if run.incident is not None:
        alerts = Alert.objects.filter(incident=run.incident)
        ended = [alert.ends_at for alert in alerts if alert.ends_at is not None]
        if ended and not alerts.filter(status__in=Alert.GOING_ON).exists() and max(ended) > since:
            found.append((max(ended), "every alert has resolved"))
    if found:
        return min(found)
    due = run.steps.filter(phase="verify", kind="wait", state="sleeping").values_list("due_at", flat=True).first()
    return None, f"looked at from {due:%H:%M} UTC" if due else ""


def _age(row: Evidence | None) -> datetime | None:
    return (row.observed_at or row.created_at) if row is not None else None


def _number(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, int | float) else "unknown"


def _span(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else texts.span(timedelta(seconds=round(seconds)))

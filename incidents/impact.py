"""What users feel, in five figures; each is measured, an estimate or unknown, and says where it comes from.

A person's word stands before what a check measured: the figure of a check is shown until somebody sets another.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from django.db import transaction

from catalog.actors import Actor
from common import clock
from common.errors import Invalid
from common.plain import plain
from common.statements import Written
from incidents import timeline
from incidents.locking import locked
from incidents.models import Evidence, ImpactFigure, Incident

# In the order in which pages show them.
NAMES = {
    "users": "Users",
    "traffic": "Traffic",
    "slices": "Slices",
    "tenants": "Tenants",
    "cost": "Cost per hour",
}
BASES = ("measured", "estimate", "unknown")
HOW_TO_WRITE = {
    "users": "a whole number, e.g. 1200",
    "traffic": "per cent from 0 to 100, e.g. 12.5",
    "slices": "names with commas between, e.g. language=de, tier=free",
    "tenants": "names with commas between, e.g. acme, globex",
    "cost": "an amount and its currency, e.g. 240 EUR",
}
MOST_USERS = 10**12
MOST_COST = 10**9
LISTED = 20


@dataclass(frozen=True)
class Figure:
    """One figure as pages and the API show it; nobody `set_by` and no value: nothing is known."""

    name: str
    value: Any = None
    basis: str = "unknown"
    asked: str = ""
    reason: str = ""
    evidence: int | None = None
    set_by: str = ""
    set_at: datetime | None = None

    @property
    def label(self) -> str:
        """What it is a figure of."""
        return NAMES[self.name]

    @property
    def words(self) -> str:
        """The value as people read it; `unknown` where there is none."""
        return words(self.name, self.value)


_answered = Written(lambda incident: ImpactFigure.objects.filter(incident=incident))


def figures(incident: Incident, findings: Iterable[Evidence]) -> list[Figure]:
    """All five figures: as a person set them, else as one of the `findings` measured it, else unknown."""
    told = {row.name: row for row in _answered(incident.pk)}
    seen = measured(findings)
    found = []
    for name in NAMES:
        row = told.get(name)
        if row is None:
            found.append(seen.get(name) or Figure(name))
            continue
        found.append(
            Figure(name, row.value, row.basis, row.asked, row.reason, row.evidence, row.set_by, row.set_at),
        )
    return found


def findings_of(incident: Incident) -> list[Evidence]:
    """The checks that found a problem, oldest first: what `measured` reads."""
    rows = Evidence.objects.filter(incident_id=incident.pk, kind="check", verdict="fail")
    return list(rows.order_by("number")[:100])


def measured(findings: Iterable[Evidence]) -> dict[str, Figure]:
    """What checks that found a problem have measured: slices that got worse, failing traffic, cost; the latest wins."""
    found: dict[str, Figure] = {}
    for row in findings:
        if row.verdict != "fail":
            continue
        result = row.result if isinstance(row.result, dict) else {}
        signal = row.params.get("signal") if row.provider == "metric.compare" else None
        name, value = "", cast("Any", None)
        if row.provider == "eval.compare" and isinstance(result.get("regressed"), list):
            name, value = "slices", [str(item)[:120] for item in result["regressed"][:LISTED]] or None
        elif signal == "error_rate" and row.unit in ("", "ratio", "share"):
            share = _finite(result.get("now"))
            name, value = "traffic", None if share is None or not 0 <= share <= 1 else round(100 * share, 2)
        elif signal == "cost" and row.unit.endswith("/h"):
            name, value = "cost", _extra_cost(result, row.unit)
        if name and value is not None:
            found[name] = Figure(
                name, value, "measured", reason=row.summary[:500], evidence=row.number, set_at=row.created_at
            )
    return found


def set_figure(
    incident: Incident,
    name: str,
    *,
    basis: str,
    actor: Actor,
    value: object = None,
    reason: str = "",
    asked: str = "",
    evidence: int | None = None,
) -> Figure:
    """Say one figure: measured by a check (`evidence`) or elsewhere, an estimate with its reason, or who was asked."""
    if name not in NAMES:
        raise Invalid(f"There is no impact figure {name[:40]!r}.", fix=f"Known: {', '.join(NAMES)}.")
    if basis not in BASES:
        raise Invalid(f"A figure is measured, an estimate or unknown, not {basis[:40]!r}.", fields={"basis": "unknown"})
    reason, asked = (" ".join(str(plain(text)).split()) for text in (reason, asked))
    if basis == "unknown":
        value, evidence = None, None
        if not asked:
            raise Invalid("Say who was asked.", fields={"asked": "needed while it is unknown"})
    else:
        value, asked = plain(parsed(name, value)), ""
        if not reason and (basis == "estimate" or evidence is None):
            raise Invalid("A reason is needed.", fields={"reason": "how do you know?"})
    with transaction.atomic():
        row = locked(incident, actor)
        cited = Evidence.objects.filter(incident_id=row.pk, number=evidence).first() if evidence is not None else None
        if evidence is not None and cited is None:
            raise Invalid(f"{row.key} has no evidence E{evidence}.", fields={"evidence": "there is no such number"})
        kept: dict[str, Any] = {
            "value": value,
            "basis": basis,
            "asked": asked[:120],
            "reason": reason[:500],
            "evidence": evidence,
            "set_by": actor.label[:120],
            "set_at": clock.now(),
        }
        ImpactFigure.objects.update_or_create(incident=row, name=name, defaults=kept)
        text = _told(actor, name, value, basis, reason, asked)
        data = {"figure": name, "value": value, "basis": basis}
        timeline.record(row, kind="impact", actor=actor, text=text, data=data, evidence=[cited] if cited else [])
    incident.version, incident.last_seq = row.version, row.last_seq
    return Figure(name, **kept)


def parsed(name: str, value: object) -> Any:
    """A value as it is kept: an int, a float, a list of names, or {"micros", "currency"}; Invalid says how to write."""
    fault = Invalid(f"{NAMES[name]}: this is not {HOW_TO_WRITE[name]}.", fields={"value": HOW_TO_WRITE[name]})
    text = "" if value is None or isinstance(value, bool) else str(value).strip()
    if name in ("slices", "tenants"):
        pieces = [str(item) for item in value] if isinstance(value, list) else text.split(",")
        names = [" ".join(piece.split())[:120] for piece in pieces]
        names = [piece for piece in names if piece][:LISTED]
        if not names:
            raise fault
        return list(dict.fromkeys(names))
    if name == "cost":
        return _money(value, text, fault)
    number = _number(text.removesuffix("%").strip() if name == "traffic" else text)
    if number is None or number < 0:
        raise fault
    if name == "users":
        if number != int(number) or number > MOST_USERS:
            raise fault
        return int(number)
    if number > 100:
        raise fault
    return number


def words(name: str, value: Any) -> str:
    """A kept value as people read it: `1,200`, `12.5 %`, `language=de, tier=free`, `240 EUR`."""
    if value is None:
        return "unknown"
    if name == "users":
        return f"{value:,}"
    if name == "traffic":
        return f"{value:g} %"
    if name == "cost":
        amount = value["micros"] / 1_000_000
        return f"{amount:,.2f} {value['currency']}" if amount % 1 else f"{amount:,.0f} {value['currency']}"
    return ", ".join(str(item) for item in value)


def _money(value: object, text: str, fault: Invalid) -> dict[str, Any]:
    if isinstance(value, dict):
        micros, currency = value.get("micros"), str(value.get("currency", ""))
        if isinstance(micros, bool) or not isinstance(micros, int):
            raise fault
        text = f"{micros / 1_000_000} {currency}"
    parts = re.fullmatch(r"([\d,.]+)\s*([A-Za-z]{3})(?:\s*/\s*h)?", text)
    amount = _number(parts.group(1)) if parts else None
    if parts is None or amount is None or not 0 <= amount <= MOST_COST:
        raise fault
    return {"micros": round(amount * 1_000_000), "currency": parts.group(2).upper()}


def _extra_cost(result: dict[str, Any], unit: str) -> dict[str, Any] | None:
    """What it costs more than before: the damage, not the bill."""
    now, before = _finite(result.get("now")), _finite(result.get("before"))
    currency = unit.removesuffix("/h").strip().upper()
    if now is None or before is None or now <= before or not re.fullmatch(r"[A-Z]{3}", currency):
        return None
    return {"micros": round((now - before) * 1_000_000), "currency": currency}


def _number(text: str) -> float | None:
    """A number as people write it: `1,200` has a separator, `12.5` a point; nothing that is not finite."""
    if not re.fullmatch(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?", text) or len(text) > 24:
        return None
    return _finite(float(text.replace(",", "")))


def _finite(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _told(actor: Actor, name: str, value: Any, basis: str, reason: str, asked: str) -> str:
    if basis == "unknown":
        return f"{actor.label} asked {asked} how far it reaches: {NAMES[name].lower()} unknown."
    why = f": {reason}" if reason else ""
    stop = "" if why.endswith((".", "!", "?", "…")) else "."
    return f"{actor.label} set the impact: {NAMES[name].lower()} {words(name, value)} ({basis}){why}{stop}"

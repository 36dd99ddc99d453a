"""A postmortem for readers elsewhere: Markdown, a page to print, JSON."""

from __future__ import annotations

import html as _html
from typing import Any

from common import markdown as _markdown
from incidents import postmortem_sections
from incidents.models import ActionItem, Evidence, Postmortem, TimelineEntry
from incidents.texts import utc


def markdown(postmortem: Postmortem) -> str:
    """The text as it is, with a remark at its foot that says which edition it is."""
    return f"{postmortem.body.rstrip()}\n\n<!-- {_foot(postmortem)} -->\n"


def html(postmortem: Postmortem, *, css: str = "", figures: str = "") -> str:
    """A whole page to print or keep, safe HTML only: no scripts, styles by /static or, for a file, `css`.

    `figures` are drawings to put behind the text, made by web.pages.figures.
    """
    sheets = ("charts", "print") if figures else ("print",)
    linked = "\n".join(f'<link rel="stylesheet" href="/static/{sheet}.css">' for sheet in sheets)
    styles = f"<style>\n{css}</style>" if css else linked
    title = _html.escape(f"{postmortem.incident.key} postmortem")
    body = _markdown.to_html(postmortem.body) if postmortem.body else "<p>There is no text yet.</p>"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n{styles}\n</head>\n"
        f'<body>\n<main class="paper">\n{body}\n{figures}</main>\n'
        f"<footer><p>{_html.escape(_foot(postmortem))}</p></footer>\n</body>\n</html>\n"
    )


def data(postmortem: Postmortem) -> dict[str, Any]:
    """Everything that a program may want: facts, text, whys, action items, timeline and evidence."""
    incident = postmortem.incident
    entries = TimelineEntry.objects.filter(incident=incident).order_by("seq")
    evidence = Evidence.objects.filter(incident_id=incident.pk, number__isnull=False).order_by("number")
    items = ActionItem.objects.filter(incident=incident).select_related("owner")
    return {
        "incident": incident.key,
        "number": incident.number,
        "title": incident.title,
        "type": incident.incident_type,
        "severity": incident.severity,
        "is_drill": incident.is_drill,
        "service": incident.service.slug if incident.service else None,
        "team": incident.team.slug,
        "times": {
            name: _moment(getattr(incident, name))
            for name in (
                *("started_at", "onset_at", "detected_at", "acknowledged_at"),
                *("mitigated_at", "resolved_at", "closed_at"),
            )
        },
        "state": postmortem.state,
        "owner": postmortem.owner.username if postmortem.owner else None,
        "reviewer": postmortem.reviewer.username if postmortem.reviewer else None,
        "edition": postmortem.edition,
        "due_at": _moment(postmortem.due),
        "drafted_at": _moment(postmortem.drafted_at),
        "published_at": _moment(postmortem.published_at),
        "body": postmortem.body,
        "sections": postmortem_sections.data(postmortem),
        "whys": postmortem.whys,
        "action_items": [item_data(item) for item in items],
        "timeline": [
            {
                "number": f"T{entry.seq}",
                "at": _moment(entry.at),
                "kind": entry.kind,
                "role": entry.role,
                "text": entry.text,
                "evidence": [f"E{number}" for number in entry.evidence],
            }
            for entry in entries
        ],
        "evidence": [
            {
                "number": row.key,
                "kind": row.kind,
                "step": row.step,
                "provider": row.provider,
                "verdict": row.verdict,
                "summary": row.summary,
                "value": row.value,
                "unit": row.unit,
                "samples": row.samples,
                "query": row.query,
                "window_from": _moment(row.window_from),
                "window_to": _moment(row.window_to),
                "sha256": row.sha256,
            }
            for row in evidence
        ],
    }


def item_data(item: ActionItem) -> dict[str, Any]:
    """One action item as the API and exports give it."""
    return {
        "id": str(item.uuid),
        "title": item.title,
        "kind": item.kind,
        "priority": f"P{item.priority}",
        "owner": item.owner.username,
        "due_on": item.due_on.isoformat(),
        "state": item.state,
        "closing_check": item.closing_check,
        "rule": item.rule,
        "evidence": [f"E{number}" for number in item.evidence],
        "cause": item.cause,
        "tracker": item.tracker,
        "reason": item.reason,
    }


def _foot(postmortem: Postmortem) -> str:
    state = f"{postmortem.incident.key}, edition {postmortem.edition}, {postmortem.get_state_display()}"
    return state + (f", published {utc(postmortem.published_at)}" if postmortem.published_at else "")


def _moment(value: Any) -> str | None:
    return value.isoformat() if value is not None else None

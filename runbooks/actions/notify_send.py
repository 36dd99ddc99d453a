"""notify.send: tell the team something."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from incidents import notices
from incidents.models import Incident
from runbooks.actions.base import Action, Applied, EffectClass, Preview, Risk
from runbooks.checks.base import Context, Params

# The kind of message under which a runbook's own words go out.
KIND = "runbook_message"


class NotifySendParams(Params):
    """What to say."""

    text: str = Field(min_length=1, max_length=5000)
    # The line on a lock screen; by default the incident and the first line of the text.
    subject: str = Field("", max_length=200)


class NotifySend(Action[NotifySendParams]):
    """Tell the team something, at every address that the team has (mail, chat, webhook).

    The message is put into the outbox and delivered with retries; what became of it is on the timeline. A team without
    any address is told nothing, and the timeline says so. Class `notify`: after a crash it may be sent again, but the
    same key never makes a second message for one address.

    **result** keys: `told` (how many addresses), `to` (their labels).
    """

    name: ClassVar[str] = "notify.send"
    title: ClassVar[str] = "Tell the team"
    effect_class: ClassVar[EffectClass] = "notify"
    risk: ClassVar[Risk] = "low"
    example: ClassVar[dict[str, Any]] = {"text": "Rollback of the model is done; we watch it for a day."}
    params = NotifySendParams

    def preview(self, params: NotifySendParams, context: Context) -> Preview:
        """What would be sent, and to how many addresses."""
        count = context.team.addresses.count()
        where = f"{count} address{'' if count == 1 else 'es'} of team {context.team.slug}"
        warnings = [] if count else [f"Team {context.team.slug} has no address: nobody would be told."]
        subject = _subject(params, context)
        return Preview(
            sentence=f"Send “{subject}” to {where}",
            after={"subject": subject, "text": params.text},
            lines=[("To", where), ("Subject", subject), ("Text", params.text)],
            warnings=warnings,
        )

    def apply(self, params: NotifySendParams, key: str, context: Context) -> Applied:
        """Put one message per address into the outbox."""
        incident = Incident.objects.filter(number=context.incident_number).first() if context.incident_number else None
        sent = notices.tell(
            team=context.team,
            kind=KIND,
            key=key,
            subject=_subject(params, context),
            body=notices.body(KIND, incident=incident, text=params.text),
            link=f"/incidents/{incident.number}" if incident else f"/runs/{context.run_uuid}",
            incident=incident,
        )
        told = [message.recipient for message in sent]
        if not told:
            return Applied(f"Team {context.team.slug} has no address: nobody was told.", result={"told": 0, "to": []})
        return Applied(f"Told {', '.join(told)}.", result={"told": len(told), "to": told})


def _subject(params: NotifySendParams, context: Context) -> str:
    first = params.subject or params.text.strip().splitlines()[0]
    start = f"{context.incident_key}: " if context.incident_key and context.incident_key not in first else ""
    return (start + first)[:200]

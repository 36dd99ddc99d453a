"""The charts of a postmortem for readers elsewhere: the signal it was about, and each cited measurement, drawn."""

from __future__ import annotations

from django.template.loader import render_to_string

from common import clock
from incidents import citations, pictures
from incidents.models import Evidence, Postmortem
from web.pages import signals as showing
from web.pages.exhibits import exhibit
from web.pages.incidents.signals import own_signal

# More drawings than this make a file that nobody prints.
_MOST = 24


def of_postmortem(postmortem: Postmortem) -> str:
    """Safe HTML with inline SVG; empty where nothing that was measured is cited. Reads rows only."""
    incident = postmortem.incident
    cited = {int(key[1:]) for key in citations.references(postmortem.body) if key[:1] == "E" and key[1:].isdecimal()}
    rows = Evidence.objects.filter(incident_id=incident.pk, number__in=cited).order_by("number")
    exhibits = [shown for row in rows if (shown := exhibit(row, incident)).chart is not None][:_MOST]
    kept = {picture.name: picture for picture in pictures.of_incident(incident) if picture.read_at}
    name, _ = own_signal(incident, sorted(kept), kept)
    signal = None
    if name and incident.service is not None:
        onset = incident.onset_at or incident.started_at
        marks = showing.marks_of(incident.service, *pictures.span_of(incident, clock.now()), onset=onset)
        signal = showing.shown(
            kept[name], signal=None, service=incident.service, now=clock.now(), marks=marks, is_over=True
        )
    if not exhibits and (signal is None or signal.chart is None):
        return ""
    return render_to_string("components/figures.html", {"signal": signal, "exhibits": exhibits}, using="jinja2")

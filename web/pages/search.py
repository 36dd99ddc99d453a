"""Search: whatever the reader's teams have, by words; `INC-42` goes straight there."""

from __future__ import annotations

from django.http import HttpResponse
from django.shortcuts import redirect, render

from catalog.permissions import Permission
from web import search as finding
from web.policy import PersonRequest, allow


@allow(Permission.SEE)
def search(request: PersonRequest) -> HttpResponse:
    """The page; without words it says what can be found."""
    text = request.GET.get("q", "")[: finding.LONGEST].strip()
    incident = finding.exact(text, request.actor)
    if incident is not None:
        return redirect("incident", number=incident.number)
    groups = finding.search(text, request.actor)
    return render(request, "search.html", {"text": text, "groups": groups})

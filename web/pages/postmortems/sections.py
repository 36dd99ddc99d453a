"""Writing in a postmortem's sections: forms without a script, and the same addresses saving while somebody types."""

from __future__ import annotations

import secrets
from typing import Any, TypeVar

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.views.decorators.http import require_POST

from catalog.models import User
from catalog.permissions import Permission
from common.errors import Conflict, NotFound
from incidents import postmortem_comments, postmortem_offers, postmortem_sections
from incidents.models import Postmortem, PostmortemComment, PostmortemOffer
from incidents.postmortem_text import SECTIONS
from web import problems
from web.pages.postmortems import editor
from web.pages.postmortems.finding import find
from web.policy import PersonRequest, allow, team_object_or_404

Row = TypeVar("Row", PostmortemOffer, PostmortemComment)


def new_window() -> str:
    """A name for a window that has no script to name itself."""
    return secrets.token_hex(8)


def _window(request: PersonRequest) -> str:
    return request.POST.get("window", "")[:40] or new_window()


def done(request: PersonRequest, number: int, words: str, *, tab: str = "", place: str = "") -> HttpResponse:
    """Back to the page; a script that asked gets only the words."""
    if problems.wants_json(request):
        return JsonResponse({"told": words})
    messages.success(request, words)
    query = f"?tab={tab}" if tab else ""
    response = redirect("postmortem", number=number)
    response["Location"] += query + (f"#{place}" if place else "")
    return response


@allow(Permission.EDIT_POSTMORTEM)
@require_POST
def take(request: PersonRequest, number: int, key: str) -> HttpResponse:
    """Begin to write in a section, or go on where somebody else is (`over`)."""
    found = find(request, number, Permission.EDIT_POSTMORTEM)
    window = _window(request)
    over = bool(request.POST.get("over"))
    postmortem_sections.take(found, key, actor=request.actor, window=window, over=over)
    if not problems.wants_json(request):
        response = redirect("postmortem", number=number)
        response["Location"] += f"?edit={key}&window={window}#s-{key}"
        return response
    found.refresh_from_db()
    context = editor.context(request, found, edit=key, window=window)
    section = next(one for one in context["sections"] if one.key == key)
    html = render_to_string("postmortems/_section.html", context | {"section": section}, request)
    return JsonResponse({"html": html, "fingerprint": section.fingerprint, "text": section.text})


@allow(Permission.EDIT_POSTMORTEM)
@require_POST
def hold(request: PersonRequest, number: int, key: str) -> HttpResponse:
    """Say that the writer is still there."""
    found = find(request, number, Permission.EDIT_POSTMORTEM)
    section = postmortem_sections.renew(found, key, actor=request.actor, window=request.POST.get("window", ""))
    return JsonResponse({"until": section.until})


@allow(Permission.EDIT_POSTMORTEM)
@require_POST
def leave(request: PersonRequest, number: int, key: str) -> HttpResponse:
    """Stop writing."""
    found = find(request, number, Permission.EDIT_POSTMORTEM)
    postmortem_sections.leave(found, key, actor=request.actor, window=request.POST.get("window", ""))
    return done(request, number, "The section is free again.", place=f"s-{key}")


@allow(Permission.EDIT_POSTMORTEM)
@require_POST
def save(request: PersonRequest, number: int, key: str) -> HttpResponse:
    """Save a section's text; on a conflict both texts are shown and nothing is lost."""
    found = find(request, number, Permission.EDIT_POSTMORTEM)
    text, was = request.POST.get("text", ""), request.POST.get("was", "")[:40]
    by_script = problems.wants_json(request)
    window = request.POST.get("window", "")[:40]
    try:
        stored = postmortem_sections.write(found, key, text=text, was=was, actor=request.actor, window=window)
    except Conflict as conflict:
        # One of two places where a page keeps a DomainError: a plain error page would lose what was typed.
        if by_script:
            raise
        return _conflict(request, found, key, text, conflict)
    if by_script:
        found.refresh_from_db()
        return JsonResponse({"fingerprint": stored.fingerprint, "edition": found.edition, "saved_at": found.saved_at})
    postmortem_sections.leave(found, key, actor=request.actor, window=window)
    return done(request, number, f"{SECTIONS.get(key, 'The section')}: saved.", place=f"s-{key}")


def _conflict(request: PersonRequest, found: Postmortem, key: str, mine: str, conflict: Conflict) -> HttpResponse:
    theirs = str(conflict.extra.get("current", ""))
    context: dict[str, Any] = {
        "postmortem": found,
        "incident": found.incident,
        "sentence": conflict.sentence,
        "fix": conflict.fix,
        "key": key,
        "title": SECTIONS.get(key, key),
        "mine": mine,
        "theirs": theirs,
        "was": conflict.extra.get("fingerprint", ""),
    }
    return render(request, "postmortems/section_conflict.html", context, status=409)


@allow(Permission.EDIT_POSTMORTEM)
@require_POST
def answer_for(request: PersonRequest, number: int, key: str) -> HttpResponse:
    """Say who answers for a section."""
    found = find(request, number, Permission.EDIT_POSTMORTEM)
    person = _person(request, found)
    postmortem_sections.answer_for(found, key, owner=person, actor=request.actor)
    return done(request, number, f"{person.label if person else 'Nobody in particular'} answers for it.")


@allow(Permission.EDIT_POSTMORTEM)
@require_POST
def see_to(request: PersonRequest, number: int) -> HttpResponse:
    """Say who sees to an entry of the checklist."""
    found = find(request, number, Permission.EDIT_POSTMORTEM)
    person = _person(request, found)
    check = request.POST.get("check", "")
    if not check:
        raise NotFound("The checklist has no such entry.", fix="Reload the page: it may be settled.")
    postmortem_sections.see_to(found, check, person=person, actor=request.actor)
    return done(request, number, f"{person.label if person else 'Nobody in particular'} sees to it.", tab="checks")


@allow(Permission.EDIT_POSTMORTEM)
@require_POST
def moment(request: PersonRequest, number: int, seq: int) -> HttpResponse:
    """Put an entry of the incident's timeline into the text."""
    found = find(request, number, Permission.EDIT_POSTMORTEM)
    postmortem_sections.add_moment(found, seq, actor=request.actor)
    return done(request, number, f"T{seq} stands in the timeline now.", place="s-timeline")


@allow(Permission.EDIT_POSTMORTEM)
@require_POST
def offer(request: PersonRequest, number: int, offer: int) -> HttpResponse:
    """Take new evidence in place of what stands, or keep what stands."""
    found = _of_postmortem(PostmortemOffer.objects.all(), request, number, offer)
    take = request.POST.get("answer") == "take"
    postmortem_offers.answer(found, take=take, actor=request.actor)
    return done(request, number, "The new evidence is in the text." if take else "Kept.", place=f"s-{found.section}")


@allow(Permission.EDIT_POSTMORTEM)
@require_POST
def comment(request: PersonRequest, number: int) -> HttpResponse:
    """Say something about a section."""
    found = find(request, number, Permission.EDIT_POSTMORTEM)
    said = request.POST.get("text", "")
    postmortem_comments.say(found, section=request.POST.get("section", ""), text=said, actor=request.actor)
    return done(request, number, "The comment is kept.", tab="comments")


@allow(Permission.EDIT_POSTMORTEM)
@require_POST
def settle(request: PersonRequest, number: int, comment: int) -> HttpResponse:
    """Settle a comment."""
    found = _of_postmortem(PostmortemComment.objects.all(), request, number, comment)
    postmortem_comments.settle(found, actor=request.actor)
    return done(request, number, "Settled.", tab="comments")


def _of_postmortem(rows: QuerySet[Row], request: PersonRequest, number: int, pk: int) -> Row:
    """An offer or a comment of the postmortem of that number, for whoever may edit it."""
    return team_object_or_404(
        rows.select_related("postmortem__incident__team"),
        request.actor,
        permission=Permission.EDIT_POSTMORTEM,
        team="postmortem__incident__team",
        postmortem__incident__number=number,
        pk=pk,
    )


def _person(request: PersonRequest, found: Postmortem) -> User | None:
    """The person that a form names: one of the team, or nobody."""
    name = request.POST.get("person", "")
    if not name:
        return None
    person = User.objects.filter(username=name, is_active=True, memberships__team=found.incident.team).first()
    if person is None:
        raise NotFound("There is nobody of that name in the team.", fix="Choose one of the team's people.")
    return person

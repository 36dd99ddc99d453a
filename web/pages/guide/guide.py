"""The guide, from docs/guide/*.md, served where it is needed: in an order to read, with its pictures."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from django.http import FileResponse, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from catalog.permissions import Permission
from common.errors import NotFound
from web.policy import PersonRequest, allow

FOLDER = Path(__file__).resolve().parents[3] / "docs" / "guide"
PICTURES = FOLDER / "pictures"
# Slugs in the order in which one needs them; a page that stands nowhere here comes last.
CHAPTERS: list[tuple[str, tuple[str, ...]]] = [
    ("Begin", ("first-ten-minutes", "connecting", "services", "writing-a-runbook", "testing-runbooks")),
    ("At night", ("incidents", "approving", "telling")),
    ("The days after", ("postmortems",)),
    ("Who may what", ("roles",)),
    ("Keep it running", ("how-it-runs", "operate", "settings")),
    ("Look up", ("alerts", "runbook-language", "runbook-errors", "engine", "api")),
]
_LINK = re.compile(r"\]\((?!https?:|mailto:|/|#)([^)\s]+)\)")


@dataclass(frozen=True)
class Page:
    """One page; the title is its first heading, the lead its first sentence."""

    slug: str
    title: str
    lead: str
    file: Path


@dataclass(frozen=True)
class Chapter:
    """Pages that belong together."""

    title: str
    pages: list[Page]


@dataclass(frozen=True)
class Section:
    """What stands under a heading of the second or third level; the part before the first has no id and no title."""

    id: str
    title: str
    body: str
    level: int = 2


@lru_cache(maxsize=1)
def chapters() -> list[Chapter]:
    """Every page in order. The files do not change while we serve."""
    files = {file.stem: file for file in sorted(FOLDER.glob("*.md"))}
    found = [Chapter(title, [_read(files.pop(slug)) for slug in slugs if slug in files]) for title, slugs in CHAPTERS]
    if files:
        found.append(Chapter("More", [_read(file) for file in files.values()]))
    return [chapter for chapter in found if chapter.pages]


def _read(file: Path) -> Page:
    lines = file.read_text(encoding="utf-8").split("\n")
    title = next((line[2:].strip() for line in lines if line.startswith("# ")), file.stem)
    first = next((line.strip() for line in lines if line.strip() and not line.startswith(("#", "!", "`", "|"))), "")
    return Page(file.stem, title, first.partition(". ")[0].replace("`", "").rstrip(".,:;"), file)


def sections(text: str) -> list[Section]:
    """A page cut at its headings of the second and third level, each with an id that addresses can name."""
    found: list[Section] = []
    heading, level, lines, is_code = "", 2, list[str](), False
    for line in [*text.split("\n"), "## "]:
        is_code ^= line.lstrip().startswith("```")
        if is_code or not line.startswith(("## ", "### ")):
            lines.append(line)
            continue
        if heading or "".join(lines).strip():
            found.append(Section(slug_of(heading), heading, "\n".join(lines).strip(), level))
        marks, _, heading = line.partition(" ")
        heading, level, lines = heading.strip(), len(marks), []
    return found


def slug_of(heading: str) -> str:
    """A heading as GitHub writes it in an address: `## From alert to incident` is #from-alert-to-incident."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def served(text: str) -> str:
    """Links among the files as links among the pages; pictures from here; what leads out of the guide stays text."""
    known = {page.slug for chapter in chapters() for page in chapter.pages}

    def turn(match: re.Match[str]) -> str:
        target, _, anchor = match[1].partition("#")
        if target.startswith("pictures/"):
            return f"]({reverse('guide_picture', args=[Path(target).stem])})"
        slug = target.removesuffix(".md")
        return f"]({reverse('guide_page', args=[slug])}{'#' + anchor if anchor else ''})" if slug in known else match[0]

    return _LINK.sub(turn, text)


@allow(Permission.SIGNED_IN)
def guide(request: PersonRequest) -> HttpResponse:
    """The table of contents."""
    return render(request, "guide/listing.html", {"chapters": chapters()})


@allow(Permission.SIGNED_IN)
def page(request: PersonRequest, page: str) -> HttpResponse:
    """One page, with the one before and the one after it."""
    every = [row for chapter in chapters() for row in chapter.pages]
    at = next((index for index, row in enumerate(every) if row.slug == page), None)
    if at is None:
        raise NotFound("The guide has no such page.", fix="See its table of contents at /guide.")
    text = every[at].file.read_text(encoding="utf-8")
    body = text.split("\n", 1)[1] if text.startswith("# ") else text
    context = {
        "page": every[at],
        "sections": sections(served(body)),
        "chapters": chapters(),
        "before": every[at - 1] if at else None,
        "after": every[at + 1] if at + 1 < len(every) else None,
    }
    return render(request, "guide/page.html", context)


@allow(Permission.SIGNED_IN)
def picture(request: PersonRequest, name: str) -> FileResponse:
    """A picture of a page. Under /files/, from which alone Markdown may show pictures."""
    files = {file.stem: file for file in PICTURES.glob("*.png")}
    if name not in files:
        raise NotFound("The guide has no such picture.", fix="See its table of contents at /guide.")
    response = FileResponse(files[name].open("rb"), content_type="image/png")
    response["Cache-Control"] = "private, max-age=3600"
    return response

"""The guide, from docs/guide/*.md, served where it is needed."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from django.http import HttpResponse
from django.shortcuts import render

from catalog.permissions import Permission
from common.errors import NotFound
from web.policy import PersonRequest, allow

_PICTURE = re.compile(r"^!\[[^\]]*\]\(pictures/[^)]+\)\n+", re.MULTILINE)
FOLDER = Path(__file__).resolve().parents[3] / "docs" / "guide"


@lru_cache(maxsize=1)
def _pages() -> dict[str, tuple[str, Path]]:
    """Slug to title and file; the title is the file's first heading. The files do not change while we serve."""
    found = {}
    for file in sorted(FOLDER.glob("*.md")):
        with file.open(encoding="utf-8") as lines:
            title = next((line[2:].strip() for line in lines if line.startswith("# ")), file.stem)
        found[file.stem] = (title, file)
    return found


@allow(Permission.SIGNED_IN)
def guide(request: PersonRequest) -> HttpResponse:
    """The table of contents."""
    pages = [(slug, title) for slug, (title, _) in _pages().items()]
    return render(request, "guide/listing.html", {"pages": pages})


@allow(Permission.SIGNED_IN)
def page(request: PersonRequest, page: str) -> HttpResponse:
    """One page."""
    if page not in _pages():
        raise NotFound("The guide has no such page.", fix="See its table of contents at /guide.")
    title, file = _pages()[page]
    # The pictures are for readers elsewhere; who reads here has the pages themselves.
    text = _PICTURE.sub("", file.read_text(encoding="utf-8"))
    body = text.split("\n", 1)[1] if text.startswith("# ") else text
    pages = [(slug, name) for slug, (name, _) in _pages().items()]
    return render(request, "guide/page.html", {"title": title, "body": body, "pages": pages, "slug": page})

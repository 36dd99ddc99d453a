"""Lists in pages of fifty, with the address of the next one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from django.db.models import Model, QuerySet
from django.http import HttpRequest

M = TypeVar("M", bound=Model)
SIZE = 50


@dataclass(frozen=True)
class Page(Generic[M]):
    """One page of rows; `older` and `newer` are query strings, empty at the ends."""

    rows: list[M]
    newer: str
    older: str


def paged(request: HttpRequest, rows: QuerySet[M], size: int = SIZE) -> Page[M]:
    """The page that `?page=` names; anything that is no page number means the first."""
    asked = request.GET.get("page", "1")
    nth = min(int(asked), 10_000) if asked.isdecimal() and len(asked) < 6 and int(asked) > 0 else 1
    found = list(rows[(nth - 1) * size : nth * size + 1])

    def address(page: int) -> str:
        query = request.GET.copy()
        query["page"] = str(page)
        return "?" + query.urlencode()

    return Page(found[:size], address(nth - 1) if nth > 1 else "", address(nth + 1) if len(found) > size else "")

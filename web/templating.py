"""The Jinja2 environment of all pages."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from jinja2 import Environment, StrictUndefined


def environment(**options: Any) -> Environment:
    options["undefined"] = StrictUndefined
    return Environment(**options)  # noqa: S701


def page(request: HttpRequest) -> dict[str, Any]:
    return {}

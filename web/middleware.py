"""Placeholders until the pages room is written."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

Next = Callable[[HttpRequest], HttpResponse]


def request_id(get_response: Next) -> Next:
    return get_response


def domain_errors(get_response: Next) -> Next:
    return get_response


class Policy:
    def __init__(self, get_response: Next) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

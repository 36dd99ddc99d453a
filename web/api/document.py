"""The OpenAPI document, completed: the errors of every operation, and both ways to be somebody."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from ninja import NinjaAPI

from web.api.schemas import Problem

_PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
_WORDS = {
    400: "The query is not one of this address, or the body is not JSON.",
    401: "No token, or one that is not valid, and no session either.",
    403: "The role or the scope does not cover it.",
    404: "No such thing, or one of a team that is not yours.",
    405: "The method is not used at this address.",
    406: "Nothing that is accepted can be sent.",
    409: "Somebody was faster; `state` or `current` say how it stands now.",
    413: "The body is larger than 5 MiB.",
    422: "A field is unknown, missing or not acceptable; `fields` names each.",
    503: "The database is away for a moment; `Retry-After` says when to try again.",
}
_ALWAYS = (400, 401, 403, 404, 405, 406, 503)
_WHERE_SOMETHING_IS_DONE = (409, 413, 422)


class Api(NinjaAPI):
    """ninja's, with a document that names every answer; `x-people-only` marks what no token may do."""

    def get_openapi_schema(self, **options: Any) -> Any:
        """The document; errors have one form everywhere, so that no operation repeats them."""
        document = super().get_openapi_schema(**options)
        components = document["components"]
        components["schemas"]["Problem"] = Problem.json_schema()
        components["securitySchemes"] = {
            "token": {"type": "http", "scheme": "bearer", "description": "bs_…, made on the account page."},
            "session": {"type": "apiKey", "in": "cookie", "name": settings.SESSION_COOKIE_NAME},
        }
        for path in document["paths"].values():
            for method, operation in path.items():
                operation["security"] = [{"session": []}]
                if not operation.get("x-people-only"):
                    operation["security"].insert(0, {"token": []})
                errors = _ALWAYS if method == "get" else (*_ALWAYS, *_WHERE_SOMETHING_IS_DONE)
                for status in errors:
                    operation["responses"][status] = {"description": _WORDS[status], "content": _PROBLEM}
        return document

"""Errors fit for the person who caused them: what happened, why, and what to do next."""

from __future__ import annotations


class DomainError(Exception):
    """A request that cannot be done, in one sentence for the reader.

    `sentence` says what and why, `fix` says what next. `status` is the HTTP status that pages and the API answer,
    `code` a stable word for programs. Views never catch it; the middleware turns it into a page or problem+json.
    """

    status = 400
    code = "refused"

    def __init__(self, sentence: str, *, fix: str = "", **extra: object) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.fix = fix
        self.extra = extra


class Invalid(DomainError):
    """The input is not what was asked for; `fields` (in extra) maps field names to sentences."""

    status = 422
    code = "invalid"


class Forbidden(DomainError):
    """The person is known but may not do this."""

    status = 403
    code = "forbidden"


class NotFound(DomainError):
    """There is no such thing, or this person may not know that there is."""

    status = 404
    code = "not_found"


class Conflict(DomainError):
    """Somebody or something else was first; the sentence says what the state is now."""

    status = 409
    code = "conflict"


class Throttled(DomainError):
    """Too many tries; `retry_after` (in extra) is in seconds."""

    status = 429
    code = "throttled"


class Unavailable(DomainError):
    """A part we need does not answer; trying again later is right."""

    status = 503
    code = "unavailable"

"""Asking a JSON connection for a check, and finding one value in what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from catalog import connections
from catalog.connectors.http_json import HttpJson, HttpJsonConfig, HttpJsonSecrets
from common.http import Answer
from runbooks.checks.base import CheckError, Context, connection_of
from runbooks.checks.measuring import Deadline, told


@dataclass(frozen=True)
class Found:
    """What a JSON connection answered."""

    data: Any
    answer: Answer
    url: str


class Missing(Exception):
    """The path leads to nothing; the sentence says where it ends."""


def get(context: Context, slug: str, path: str, params: dict[str, str] | None = None) -> Found:
    """The JSON at a path of the connection, or CheckError (also when the answer is no JSON)."""
    connection = connection_of(context, slug)
    connector, config, secrets = connections.opened(connection)
    if not isinstance(connector, HttpJson):
        raise CheckError("no_source", f"The connection {slug} is of kind {connection.connector}.", permanent=True)
    assert isinstance(config, HttpJsonConfig)
    assert isinstance(secrets, HttpJsonSecrets)
    left = Deadline(context).left()
    data, answer = told(lambda: connector.get(config, secrets, path, params=params, timeout=left))
    return Found(data, answer, f"{config.url}{path}")


def pick(data: Any, path: str) -> Any:
    """The value at a dotted path; list positions are numbers, `#` at the end is a length. Raises Missing."""
    here: Any = data
    walked: list[str] = []
    for part in path.split(".") if path else []:
        if part == "#" and isinstance(here, list | dict):
            return len(here)
        if isinstance(here, dict) and part in here:
            here = here[part]
        elif isinstance(here, list) and part.lstrip("-").isdecimal() and -len(here) <= int(part) < len(here):
            here = here[int(part)]
        else:
            known = ", ".join(list(here)[:8]) if isinstance(here, dict) else type(here).__name__
            raise Missing(f"There is no {part!r} at {'.'.join(walked) or 'the top'} (there: {known}).")
        walked.append(part)
    return here

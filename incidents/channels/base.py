"""What a channel promises: to carry one message to one address, or to say whether trying again makes sense."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Note:
    """One message as people read it: the subject must make sense on a lock screen."""

    subject: str
    body: str
    link: str
    key: str
    # What belongs together for the reader, e.g. "INC-42": mail programs show it as one conversation.
    thread: str = ""


class Undelivered(Exception):
    """The message did not go out; `permanent` says that trying again is useless."""

    def __init__(self, sentence: str, *, permanent: bool = False) -> None:
        super().__init__(sentence)
        self.permanent = permanent


class Channel:
    """One way of reaching people. `schemes` are the address schemes it takes (`mailto`, `json`, `slack` …)."""

    name: ClassVar[str]
    title: ClassVar[str]
    schemes: ClassVar[frozenset[str]]

    def check(self, url: str) -> str:
        """A hint of the address without its secrets; raises Invalid when it is not a usable address."""
        raise NotImplementedError

    def send(self, url: str, note: Note) -> None:
        """Carry it, within 10 seconds. Raises Undelivered."""
        raise NotImplementedError

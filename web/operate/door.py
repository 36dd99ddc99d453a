"""What a page may ask of the demo, if this process runs one; keeps the simulated service out of every other process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from catalog.actors import Actor


class Demo(Protocol):
    """The demo of this process."""

    def first_view(self) -> None:
        """The first look at a page sets the live incident off; every later one does nothing."""

    def again(self, actor: Actor) -> None:
        """Run it again from the start."""


@dataclass
class Door:
    """The one place where the demo can be found."""

    demo: Demo | None = None


DOOR = Door()


def looked() -> None:
    """Somebody looked at a page."""
    if DOOR.demo is not None:
        DOOR.demo.first_view()

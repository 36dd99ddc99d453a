"""An ordered list of extensions with unique names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Generic, Protocol, TypeVar

from common.errors import NotFound


class Named(Protocol):
    """Anything with a unique name."""

    @property
    def name(self) -> str: ...


T = TypeVar("T", bound=Named)


class Registry(Generic[T]):
    """Extensions by name, in the order they are listed; a wrong name is answered with the nearest known one."""

    def __init__(self, what: str, items: Iterable[T]) -> None:
        self.what = what
        self._items: dict[str, T] = {}
        for item in items:
            if item.name in self._items:
                raise ValueError(f"two {what}s are named {item.name!r}")
            self._items[item.name] = item

    def get(self, name: str) -> T:
        """The extension of that name; NotFound with the nearest names otherwise."""
        try:
            return self._items[name]
        except KeyError:
            near = get_close_matches(name, self._items, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(self._items))}"
            raise NotFound(f"There is no {self.what} named {name!r}.", fix=hint) from None

    def __contains__(self, name: object) -> bool:
        return name in self._items

    def __iter__(self) -> Iterator[T]:
        return iter(self._items.values())

    @contextmanager
    def including(self, *items: T) -> Iterator[None]:
        """Know further ones for a while (tests, `runbook test`). Process-wide, so that worker threads see them too."""
        before, self._items = self._items, self._items | {item.name: item for item in items}
        try:
            yield
        finally:
            self._items = before

    def names(self) -> list[str]:
        """All names, in order of listing."""
        return list(self._items)

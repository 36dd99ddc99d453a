"""Runbooks as files that lie beside each other: what `lint` and `test` know of the ones that a runbook runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from common import yaml
from common.yaml import FileFaults, Finding
from runbooks import library, schema
from runbooks.spec import RunbookSpec


class Files(Mapping[str, RunbookSpec | None]):
    """Runbooks by the id that their file name says, each read when it is asked for; None for one with a wrong shape.

    Of several files of one name the last one given counts.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self.paths = {path.stem: path for path in paths}
        self._read: dict[str, RunbookSpec | None] = {}

    def __getitem__(self, name: str) -> RunbookSpec | None:
        path = self.paths[name]
        if name not in self._read:
            self._read[name] = _shape_of(path)
        return self._read[name]

    def __contains__(self, name: object) -> bool:
        return name in self.paths

    def __iter__(self) -> Iterator[str]:
        return iter(self.paths)

    def __len__(self) -> int:
        return len(self.paths)


def beside(path: Path, given: Iterable[Path] = ()) -> Files:
    """The runbooks that one in this file may run: the shipped ones, those of its folder, and those `given` with it."""
    return Files([*library.files(library.FOLDER), *library.files(path.parent), *given])


def text_of(path: Path) -> str:
    """The text of a file. Raises FileFaults, also when it cannot be opened."""
    try:
        with path.open("rb") as file:
            return yaml.decode(file.read(yaml.MAX_BYTES + 1), file=str(path))
    except OSError as error:
        message = f"The file cannot be read: {error.strerror}."
        raise FileFaults([Finding(str(path), 1, 1, "RB070", "error", message, "Let this user read it.")]) from None


def _shape_of(path: Path) -> RunbookSpec | None:
    try:
        return schema.examine(text_of(path), file=str(path))[0]
    except FileFaults:
        return None

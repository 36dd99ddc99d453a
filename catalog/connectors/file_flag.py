"""Flags in a JSON file of the data folder: for the demo, for tests, and for systems that watch a file."""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from django.conf import settings
from pydantic import Field

from catalog.connectors.base import Config, ConnectorError, FlagConnector, FlagState, Health, Secrets

# How many idempotency keys a flag remembers.
_KEYS = 50


class FileFlagConfig(Config):
    """The file, as a path inside the data folder."""

    path: str = Field(
        min_length=1, max_length=200, pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$"
    )


class FileFlagSecrets(Secrets):
    """There are none."""


class FileFlag(FlagConnector[FileFlagConfig, FileFlagSecrets]):
    """Flags in one JSON file inside the data folder: `{"<name>": {"value": …, "version": 3}}`.

    A write replaces the file at once, so a reader sees the old or the new state and never half of one; writers take
    turns by a lock beside it. A flag that the file does not hold is unknown and is not created by a write.
    """

    name: ClassVar[str] = "file_flag"
    title: ClassVar[str] = "Flag file"
    example: ClassVar[dict[str, Any]] = {"path": "flags.json"}
    config = FileFlagConfig
    secrets = FileFlagSecrets

    def read(self, config: FileFlagConfig, secrets: FileFlagSecrets, flag: str) -> FlagState:
        """The flag now."""
        return _state(_load(_path(config)), flag)

    def write(
        self, config: FileFlagConfig, secrets: FileFlagSecrets, flag: str, *, value: Any, expect: Any, key: str
    ) -> FlagState:
        """Set the flag if it still holds `expect`; a key that was used before changes nothing."""
        path = _path(config)
        with _turn(path):
            flags = _load(path)
            now = _state(flags, flag)
            row = flags[flag]
            if key and key in row.get("keys", []):
                return now
            if now.value != expect:
                raise ConnectorError(
                    "conflict", f"Flag {flag} holds {now.value!r}, not {expect!r} as expected.", refused=True
                )
            flags[flag] = {
                "value": value,
                "version": int(row.get("version", 0)) + 1,
                "changed_at": datetime.now(UTC).isoformat(),
                "keys": [*row.get("keys", []), *([key] if key else [])][-_KEYS:],
            }
            _store(path, flags)
            return _state(flags, flag)

    def create(self, config: FileFlagConfig, flag: str, *, value: Any) -> FlagState:
        """Add a flag with its first value, unless it is there (for the demo's set-up)."""
        path = _path(config)
        path.parent.mkdir(parents=True, exist_ok=True)
        with _turn(path):
            flags = _load(path) if path.exists() else {}
            if flag not in flags:
                flags[flag] = {"value": value, "version": 1}
                _store(path, flags)
            return _state(flags, flag)

    def health(self, config: FileFlagConfig, secrets: FileFlagSecrets) -> Health:
        """Whether the file is there and readable."""
        try:
            count = len(_load(_path(config)))
        except ConnectorError as error:
            return Health(ok=False, line=error.sentence)
        return Health(ok=True, line=f"The file holds {count} flag{'' if count == 1 else 's'}.")


def _path(config: FileFlagConfig) -> Path:
    folder = Path(settings.BACKSTOP.data_dir).resolve()
    path = (folder / config.path).resolve()
    # The pattern keeps `..` out; a symbolic link could still lead elsewhere.
    if not path.is_relative_to(folder):
        raise ConnectorError("blocked", "The flag file must be inside the data folder.", refused=True, sent=False)
    return path


@contextmanager
def _turn(path: Path) -> Iterator[None]:
    try:
        lock = path.with_name(path.name + ".lock").open("w")
    except OSError as error:
        raise ConnectorError(
            "unavailable", f"The flag file cannot be locked: {error.strerror}.", refused=True
        ) from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _load(path: Path) -> dict[str, dict[str, Any]]:
    try:
        flags = json.loads(path.read_bytes())
    except OSError as error:
        raise ConnectorError(
            "unavailable", f"The flag file {path.name} cannot be read: {error.strerror}.", refused=True
        ) from None
    except (ValueError, RecursionError):
        raise ConnectorError("bad_answer", f"The flag file {path.name} is not JSON.", refused=True) from None
    if not isinstance(flags, dict) or any(not isinstance(row, dict) or "value" not in row for row in flags.values()):
        raise ConnectorError("bad_answer", f"The flag file {path.name} does not hold flags.", refused=True)
    return flags


def _store(path: Path, flags: dict[str, dict[str, Any]]) -> None:
    try:
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            json.dump(flags, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        Path(file.name).replace(path)
    except OSError as error:
        raise ConnectorError(
            "unavailable", f"The flag file cannot be written: {error.strerror}.", refused=True
        ) from None


def _state(flags: dict[str, dict[str, Any]], flag: str) -> FlagState:
    row = flags.get(flag)
    if row is None:
        raise ConnectorError("not_found", f"The flag file holds no flag {flag!r}.", refused=True)
    changed = row.get("changed_at")
    return FlagState(
        flag, row["value"], str(row.get("version", "")), datetime.fromisoformat(changed) if changed else None
    )

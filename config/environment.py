"""Every setting of Backstop, typed, with the same names in embedded and production mode.

Read from `BACKSTOP_*` environment variables (or `<NAME>_FILE` for secrets). The reference page docs/guide/settings.md
lists each; a test compares the two.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

CHECKOUT = Path(__file__).resolve().parent.parent


class UnsafeSettings(Exception):
    """Settings that must not serve: every fault in one message, each with its fix."""


def _words(value: object) -> object:
    """Comma-separated text to a list."""
    return [word.strip() for word in value.split(",") if word.strip()] if isinstance(value, str) else value


Words = Annotated[list[str], NoDecode]


class Environment(BaseSettings):
    """The operator's settings. No `redis_url` means the embedded mode: one process, SQLite or PostgreSQL."""

    model_config = SettingsConfigDict(env_prefix="BACKSTOP_", extra="ignore")

    data_dir: Path = Field(
        CHECKOUT / "data", description="Embedded: database, keys, lock. Production: static files, heads."
    )
    database_url: str = Field(
        "", description="postgres://user:password@host:port/name; empty: SQLite in the data folder."
    )
    prepare_after: int = Field(
        5, ge=0, description="PostgreSQL: a statement asked so often in one session is prepared; 0: none is."
    )
    redis_url: str = Field("", description="redis://:password@host:port/0; empty: embedded mode, no broker needed.")
    secret_keys: Words = Field(
        [], description="Keys for sessions and encryption, newest first; at least 32 characters."
    )
    secret_keys_file: Path | None = Field(None, description="A file with one key a line instead of secret_keys.")
    base_url: str = Field(
        "http://127.0.0.1:8000", description="The address people use; links in messages start with it."
    )
    trusted_proxies: int = Field(0, ge=0, le=5, description="How many proxies in front may set X-Forwarded-For.")
    outbound_allow: Words = Field(
        [], description="Exact scheme://host:port entries that may be called although private."
    )
    runbooks_dir: Path | None = Field(None, description="A folder of YAML runbooks loaded beside the shipped library.")
    services_dir: Path | None = Field(None, description="A folder of YAML files that describe services.")
    lease_seconds: int = Field(60, ge=2, le=600, description="How long a worker holds a step without a sign of life.")
    two_person: Literal["on", "off"] | None = Field(
        None, description="off: approving or publishing one's own work is a noted override (embedded only)."
    )
    mail_url: str = Field("", description="smtp://user:password@host:port?from=addr&tls=1 for mail messages.")
    dead_man_url: str = Field("", description="Called each minute while the engine is healthy, and not otherwise.")
    log_format: Literal["json", "console"] | None = Field(
        None, description="Default: console embedded, json in production."
    )
    workers: int = Field(4, ge=1, le=64, description="Worker threads of the embedded mode.")
    fault_point: str = Field("", description="For crash tests only: the point at which this process ends itself.")

    @field_validator("database_url")
    @classmethod
    def _postgres(cls, value: str) -> str:
        if value and not value.startswith(("postgres://", "postgresql://")):
            raise ValueError("only postgres://user:password@host:port/name is known; leave it empty for SQLite")
        return value

    @field_validator("base_url")
    @classmethod
    def _web_address(cls, value: str) -> str:
        if not value.startswith(("http://", "https://")) or not urlsplit(value).hostname:
            raise ValueError("must be an address that starts with https:// (or http:// on one machine)")
        return value

    @field_validator("redis_url")
    @classmethod
    def _address(cls, value: str) -> str:
        urlsplit(value)  # whose ValueError says what is wrong
        return value

    @field_validator("secret_keys_file")
    @classmethod
    def _readable(cls, value: Path | None) -> Path | None:
        if value is not None:
            try:
                value.read_text()
            except OSError as error:
                raise ValueError(f"{value} cannot be read: {error.strerror}") from None
        return value

    @field_validator("secret_keys", "outbound_allow", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return _words(value)

    @property
    def embedded(self) -> bool:
        """Whether one process does everything."""
        return not self.redis_url

    @property
    def two_person_on(self) -> bool:
        """Whether approving one's own work is refused rather than noted."""
        return self.two_person != "off" if self.two_person else not self.embedded

    def keys(self) -> list[str]:
        """The secret keys: given, from the file, or (embedded) made once in the data folder with mode 0600."""
        if self.secret_keys:
            return self.secret_keys
        if self.secret_keys_file:
            return [line.strip() for line in self.secret_keys_file.read_text().splitlines() if line.strip()]
        if not self.embedded:
            return []
        path = self.data_dir / "secret_keys"
        try:
            return path.read_text().split()
        except OSError:
            pass
        try:
            self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open(path, "x", opener=_private) as file:
                file.write(secrets.token_urlsafe(48) + "\n")
        except FileExistsError:
            pass
        except OSError:
            # An unwritable folder is reported by `up` and `doctor` in a sentence; settings must still load.
            return ["unwritable-data-folder-" + secrets.token_urlsafe(48)]
        return path.read_text().split()

    def faults(self) -> list[str]:
        """What makes these settings unsafe to serve with; empty in a safe production and in the embedded mode."""
        if self.embedded:
            return []
        found = []
        if not self.database_url:
            found.append("BACKSTOP_DATABASE_URL must name a PostgreSQL database when BACKSTOP_REDIS_URL is set.")
        if not self.keys():
            found.append("BACKSTOP_SECRET_KEYS (or BACKSTOP_SECRET_KEYS_FILE) is required in production.")
        if any(len(key) < 32 for key in self.keys()):
            found.append("Every key of BACKSTOP_SECRET_KEYS needs at least 32 characters.")
        if self.two_person == "off":
            found.append("BACKSTOP_TWO_PERSON=off is for the embedded mode only.")
        if not self.base_url.startswith("https://") and not _loopback(self.base_url):
            found.append("BACKSTOP_BASE_URL must start with https:// in production.")
        redis = urlsplit(self.redis_url)
        if redis.scheme == "redis" and not redis.password and not _loopback(self.redis_url):
            found.append("BACKSTOP_REDIS_URL needs a password when Redis is not on this machine.")
        if self.fault_point:
            found.append("BACKSTOP_FAULT_POINT is for tests and must be empty.")
        return found


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _loopback(url: str) -> bool:
    return urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")


def load() -> Environment:
    """The environment, or UnsafeSettings that names every wrong variable at once."""
    try:
        return Environment()
    except ValidationError as error:
        lines = [
            f"BACKSTOP_{str(e['loc'][0]).upper()}: {e['msg'].removeprefix('Value error, ')}" for e in error.errors()
        ]
        raise UnsafeSettings("Wrong settings:\n  " + "\n  ".join(lines)) from None

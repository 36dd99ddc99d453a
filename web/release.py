"""Which release this process serves, as far as an open page can tell: by its static files."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from django.contrib.staticfiles.storage import staticfiles_storage

STATIC = Path(__file__).parent / "static"


@lru_cache(maxsize=1)
def release() -> str:
    """A short mark that changes with any static file."""
    collected = str(getattr(staticfiles_storage, "manifest_hash", ""))
    return collected or _digest()


def _digest() -> str:
    """Of the files themselves, where they are served by their plain names (embedded)."""
    found = hashlib.sha256()
    for file in sorted(STATIC.rglob("*")):
        if file.is_file():
            found.update(file.relative_to(STATIC).as_posix().encode() + file.read_bytes())
    return found.hexdigest()[:12]

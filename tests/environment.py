"""A data folder and keys for tests alone, put into the environment before anything reads Django's settings.

A plugin (`-p tests.environment` in pyproject.toml), because pytest-django loads the settings before any conftest.py:
from there these lines would come too late, and tests would work in the developer's own data folder.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

os.environ["BACKSTOP_DATA_DIR"] = tempfile.mkdtemp(prefix="backstop-test-")
# The folder of collected static files is expected to be there.
Path(os.environ["BACKSTOP_DATA_DIR"], "static").mkdir()
os.environ["BACKSTOP_SECRET_KEYS"] = "test-key-that-is-long-enough-for-everyone"
os.environ["BACKSTOP_DATABASE_URL"] = os.environ.get("BACKSTOP_TEST_DATABASE_URL", "")
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
for name in ("BACKSTOP_REDIS_URL", "BACKSTOP_TWO_PERSON"):
    os.environ.pop(name, None)

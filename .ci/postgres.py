"""A PostgreSQL for the suite, from Debian's package or else from the wheel in the test group.

python .ci/postgres.py FOLDER          holds one in a new folder, prints its address, and stops it when told to end
python .ci/postgres.py -- COMMAND …    runs a command with its address in BACKSTOP_TEST_DATABASE_URL
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests import servers  # the checkout must be on the path first


def main(words: list[str]) -> int:
    """Serve until SIGTERM, or until the command has ended; then its exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if words[:1] == ["--"]:
        with tempfile.TemporaryDirectory(prefix="backstop-postgres-") as name, servers.postgres(Path(name)) as url:
            env = os.environ | {"BACKSTOP_TEST_DATABASE_URL": url}
            return subprocess.run(words[1:], env=env, check=False).returncode  # noqa: S603  what the caller wrote
    folder = Path(words[0])
    folder.mkdir(parents=True)
    with servers.postgres(folder) as url:
        sys.stdout.write(url + "\n")
        sys.stdout.flush()
        signal.pause()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

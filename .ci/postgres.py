"""Hold a PostgreSQL for the suite: prints its address, and stops it when it is told to end."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests import servers  # the checkout must be on the path first


def main() -> None:
    """Serve until SIGTERM."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with servers.postgres(folder) as address:
        sys.stdout.write(address + "\n")
        sys.stdout.flush()
        signal.pause()


if __name__ == "__main__":
    main()

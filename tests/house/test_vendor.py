"""What others made lies in one folder, with its licence, unchanged."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "web" / "static" / "vendor"
ROW = re.compile(r"^\| (\S+) \| [^|]+ \| \[[^]]+\]\((\S+)\) \| ([0-9a-f]{64}) \|$", re.MULTILINE)
SOURCES = {".md", ".scss"}


def test_every_vendored_file_is_listed_with_its_licence_and_checksum() -> None:
    listed = {name: (licence, checksum) for name, licence, checksum in ROW.findall((FOLDER / "README.md").read_text())}
    files = {path.name for path in FOLDER.iterdir() if path.is_file()}
    built = {name for name in files if Path(name).suffix not in SOURCES and ".entry." not in name}
    assert built == set(listed)
    for name, (licence, checksum) in listed.items():
        assert (FOLDER / licence).stat().st_size > 500, licence
        assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == checksum, name

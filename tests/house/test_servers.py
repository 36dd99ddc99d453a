"""The servers that tests start stand on their own: nothing that another test does on this machine takes them away."""

from __future__ import annotations

import stat
from pathlib import Path

import psycopg
import pytest

from tests import servers


@pytest.mark.real
def test_a_postgresql_needs_no_way_through_the_folders_of_pytest(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with servers.postgres(tmp_path) as url, servers.postgres_away(tmp_path):
        pass  # made, started, stopped and started again with the folder closed
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)
    assert not (tmp_path / "cluster").exists(), "it took its data with it"


def test_it_says_why_a_server_could_not_be_made(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="ended with 3: no room"):
        servers.done(["sh", "-c", "echo no room >&2; exit 3"], {"cwd": tmp_path})

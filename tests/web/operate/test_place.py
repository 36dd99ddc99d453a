"""The data folder's lock and the port: each refusal is a sentence with what to do."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from common.errors import Conflict, Unavailable
from config import arguments
from web.operate import place, work


def test_it_refuses_a_second_process_on_the_folder(tmp_path: Path) -> None:
    first = place.FolderLock(tmp_path)
    first.say("process 42 at http://127.0.0.1:8000")
    with pytest.raises(Conflict, match=r"in use by process 42 at http://127\.0\.0\.1:8000"):
        place.FolderLock(tmp_path)
    first.release()
    place.FolderLock(tmp_path).release()


def test_it_refuses_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="cannot be written"):
        place.FolderLock(tmp_path / "file" / "data")


def test_it_names_a_port_that_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(Conflict, match=f"Port {port} .* is taken") as refused:
            place.listen("127.0.0.1", port)
    assert f"PORT={port + 1}" in refused.value.fix


def test_it_names_a_host_that_is_not_ours() -> None:
    with pytest.raises(Unavailable, match="Cannot open port"):
        place.listen("192.0.2.1", 0)


@pytest.mark.parametrize(
    ("argv", "env", "base"),
    [
        (["up"], {}, "http://127.0.0.1:8000"),
        (["up", "--port", "9000"], {"PORT": "8100"}, "http://127.0.0.1:9000"),
        (["up", "--port=9000", "--host=0.0.0.0"], {}, "http://127.0.0.1:9000"),
        (["up", "--host", "::1"], {}, "http://[::1]:8000"),
        (["login_link"], {"PORT": "8100"}, "http://127.0.0.1:8100"),
        (["up", "--port", "9000"], {"BACKSTOP_BASE_URL": "https://x.example"}, "https://x.example"),
        (["login_link"], {"PORT": "8100", "BACKSTOP_REDIS_URL": "redis://x"}, None),
    ],
)
def test_links_lead_to_where_we_serve(argv: list[str], env: dict[str, str], base: str | None, tmp_path: Path) -> None:
    env = {"BACKSTOP_DATA_DIR": str(tmp_path), **env}
    arguments.apply(["manage.py", *argv], env)
    assert env.get("BACKSTOP_BASE_URL") == base


def test_other_commands_follow_the_last_up(tmp_path: Path) -> None:
    (tmp_path / arguments.ADDRESS_FILE).write_text("http://127.0.0.1:9123\n")
    env = {"BACKSTOP_DATA_DIR": str(tmp_path)}
    arguments.apply(["manage.py", "login_link"], env)
    assert env["BACKSTOP_BASE_URL"] == "http://127.0.0.1:9123"


def test_a_wrong_queue_is_named() -> None:
    assert work.queues("checks, actions") == ["checks", "actions"]
    with pytest.raises(ValueError, match="no queue slow"):
        work.queues("checks,slow")

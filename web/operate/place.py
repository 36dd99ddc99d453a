"""The place of one embedded process: its data folder, the lock on it, and its port."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from pathlib import Path

from common.errors import Conflict, Unavailable

ADDRESS_FILE = "address"


class FolderLock:
    """The lock that one process holds on a data folder until it ends, however it ends."""

    def __init__(self, folder: Path) -> None:
        """Take the lock; Conflict when another process has it, Unavailable when the folder cannot be written."""
        self.folder = folder
        path = folder / "lock"
        try:
            # Sessions and keys are in it. A folder that was there is its owner's to open and close.
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = path.open("a+", encoding="utf-8")  # held open for as long as we run
        except OSError as error:
            raise Unavailable(
                f"The data folder {folder} cannot be written ({error.strerror}).",
                fix="Give this user the right to write there, or choose another: BACKSTOP_DATA_DIR=… or --data-dir ….",
            ) from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.seek(0)
            holder = self._file.read().strip() or "another process"
            self._file.close()
            raise Conflict(
                f"The data folder {folder} is in use by {holder}.",
                fix="Stop that one first, or choose another folder: BACKSTOP_DATA_DIR=… or --data-dir ….",
            ) from None
        self.say(f"process {os.getpid()}")

    def say(self, text: str) -> None:
        """Leave a line for whoever finds the folder locked."""
        self._file.seek(0)
        self._file.truncate()
        self._file.write(text + "\n")
        self._file.flush()

    def release(self) -> None:
        """Let the next process have the folder."""
        self._file.close()


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to the address, so that nobody else takes it while we prepare; Conflict when it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except (OSError, OverflowError) as error:
        sock.close()
        code = getattr(error, "errno", None)
        if code == errno.EADDRINUSE:
            raise Conflict(
                f"Port {port} on {host} is taken by another program.",
                fix=f"Choose another: PORT={port + 1} make run, or --port {port + 1}.",
            ) from None
        if code == errno.EACCES:
            raise Conflict(f"This user may not open port {port}.", fix="Choose one above 1023: PORT=8000.") from None
        raise Unavailable(
            f"Cannot open port {port} on {host}: {error}.", fix="Check HOST and PORT, or --host and --port."
        ) from None
    sock.set_inheritable(False)
    return sock

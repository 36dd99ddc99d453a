"""What the command line says about the place and the address, read before the settings load.

`up --data-dir --host --port` (or HOST and PORT) decide settings, and settings are read at import; so manage.py calls
`apply` first. Other commands follow the `up` that last started on the same data folder, so that the links they print
lead to it. Everything gives way to BACKSTOP_BASE_URL, and nothing here applies in production.
"""

from __future__ import annotations

import secrets
from collections.abc import MutableMapping
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
ADDRESS_FILE = "address"


def apply(argv: list[str], env: MutableMapping[str, str]) -> None:
    """Put --data-dir, --host and --port (of `up` only) into the environment that the settings read."""
    if argv[1:2] == ["runbook"]:
        _files_only(argv[2:3], env)
    if argv[1:2] in (["web"], ["live"]):
        # A person waits for a page; a worker's statement may take the settings' 30 s.
        env.setdefault("BACKSTOP_STATEMENT_TIMEOUT", "5s")
    given = _flags(argv[2:]) if argv[1:2] == ["up"] else {}
    if given.get("--data-dir"):
        env["BACKSTOP_DATA_DIR"] = str(Path(given["--data-dir"]).expanduser().resolve())
    if env.get("BACKSTOP_BASE_URL") or env.get("BACKSTOP_REDIS_URL"):
        return
    host, port = given.get("--host") or env.get("HOST"), given.get("--port") or env.get("PORT")
    if host or port or argv[1:2] == ["up"]:
        env["BACKSTOP_BASE_URL"] = address(host or "127.0.0.1", port or "8000")
        return
    try:
        text = (Path(env.get("BACKSTOP_DATA_DIR") or CHECKOUT / "data") / ADDRESS_FILE).read_text().strip()
    except OSError:
        return
    if text.startswith("http://"):
        env["BACKSTOP_BASE_URL"] = text


def _files_only(verb: list[str], env: MutableMapping[str, str]) -> None:
    """Runbook files are checked and tested without a database, a broker, or keys that would be kept in a folder."""
    if verb in (["test"], ["schema"]):
        for name in ("BACKSTOP_DATABASE_URL", "BACKSTOP_REDIS_URL", "BACKSTOP_SECRET_KEYS_FILE"):
            env.pop(name, None)
    if verb in (["test"], ["schema"], ["lint"]) and not env.get("BACKSTOP_SECRET_KEYS_FILE"):
        env["BACKSTOP_SECRET_KEYS"] = secrets.token_urlsafe(48)


def address(host: str, port: str) -> str:
    """The address that a browser on this machine can use."""
    if host in ("0.0.0.0", "::", ""):  # noqa: S104  not bound here, only shown
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _flags(words: list[str]) -> dict[str, str]:
    """`--name value` and `--name=value`; whatever else there is argparse will judge."""
    found: dict[str, str] = {}
    for index, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in ("--data-dir", "--host", "--port"):
            found[name] = value if equals else (words[index + 1] if index + 1 < len(words) else "")
    return found

"""Chromium against a real `manage.py up`: what only a browser can show.

A missing Chromium skips the test with one line that names it; `.ci/run` installs it and fails on such a skip.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, ViewportSize, expect, sync_playwright

from tests import servers

ROOT = Path(__file__).resolve().parents[1]
PHONE: ViewportSize = {"width": 360, "height": 740}
DESK: ViewportSize = {"width": 1440, "height": 900}
# Letters stand where they would in a window.
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--font-render-hinting=none"]


@dataclass(frozen=True)
class Up:
    """A running product: its address, a sign-in link that nobody has used yet, and its data folder."""

    base: str
    link: str
    folder: Path
    process: subprocess.Popen[bytes]

    def command(self, *words: str) -> str:
        """What `manage.py …` prints beside it."""
        done = subprocess.run(
            [sys.executable, "manage.py", *words], cwd=ROOT, env=_environment(self.folder), check=True, timeout=120,
            capture_output=True, text=True,
        )  # fmt: skip
        return done.stdout

    def token(self) -> str:
        """An API token of the first user."""
        made = json.loads(
            self.command("api_token", "create", "--user", "admin", "--name", "test", "--scopes", "*", "--json")
        )
        return str(made["token"])


@contextmanager
def up(folder: Path, *options: str, port: int | None = None) -> Iterator[Up]:
    """The product in a process of its own, from its last line of welcome until the block ends."""
    port, log = port or servers.free_port(), folder / "up.log"
    log.write_text("")
    command = [sys.executable, "manage.py", "up", "--port", str(port), "--data-dir", str(folder), *options]
    with servers.running(
        command, ready=lambda: "Next" in log.read_text(), log=log, wait=180, cwd=ROOT, env=_environment(folder)
    ) as process:
        link = re.findall(r"http://\S+/login/link/\S+", log.read_text())[0]
        yield Up(f"http://127.0.0.1:{port}", link, folder, process)


def _environment(folder: Path) -> dict[str, str]:
    """As a newcomer's shell: none of the settings that the tests give themselves."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("BACKSTOP_", "DJANGO_"))}
    return kept | {"BACKSTOP_DATA_DIR": str(folder)}


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser: where there is one, the shell without windows, which takes two thirds of the processor time."""
    path = servers.program("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
    # How fast a page is, `make bench` asks; a test only waits for what must come, on a machine however busy.
    expect.set_options(timeout=60_000)
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


def signed_in(browser: Browser, running: Up, **options: Any) -> BrowserContext:
    """A browser session that signed in by a fresh link, as a person does."""
    link = re.findall(r"http://\S+/login/link/\S+", running.command("login_link", "--user", "admin"))[0]
    context = browser.new_context(**{"viewport": DESK} | options)
    page = context.new_page()
    page.goto(running.base + link[link.index("/login/") :])
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(running.base + "/")
    page.close()
    return context


def complaints(page: Page) -> list[str]:
    """What the browser complains about from now on: refused by the CSP, a script's error, something not found."""
    found: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            found.append(message.text)

    page.on("console", heard)
    page.on("pageerror", lambda error: found.append(str(error)))
    return found

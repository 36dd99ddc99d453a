"""Take the pictures of the README and the guide from a fresh demo, in Chromium: `make screenshots`."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path.insert(0, str(ROOT))

from tests import servers  # the checkout must be on the path first

SIZE = {"width": 1280, "height": 800}


def main() -> None:
    """Start `up`, sign in by its link, wait for the approval, and take each picture in light."""
    folder, port = Path(tempfile.mkdtemp(prefix="pictures-")), servers.free_port()
    log = folder / "up.log"
    command = [sys.executable, "manage.py", "up", "--port", str(port), "--data-dir", str(folder)]
    with (
        servers.running(command, ready=lambda: "Next" in log.read_text(), log=log, wait=180, cwd=ROOT),
        sync_playwright() as play,
    ):
        link = re.findall(r"http://\S+/login/link/\S+", log.read_text())[0]
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE, color_scheme="light")  # type: ignore[arg-type]
        page.goto(link)
        with page.expect_navigation(timeout=60_000):
            page.get_by_role("button", name="Sign in").first.click()
        base = f"http://127.0.0.1:{port}"
        take(page, f"{base}/", "home")
        wait_for_approval(page, base)
        take(page, f"{base}/incidents/{incident(page, base)}", "incident")
        take(page, f"{base}/runs", "runs")
        browser.close()
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run(["ls", "-l", str(HERE)], check=False)


def take(page: Page, address: str, name: str) -> None:
    """One picture of one page."""
    page.goto(address)
    page.wait_for_timeout(1500)
    page.screenshot(path=HERE / f"{name}.png")


def incident(page: Page, base: str) -> str:
    """The number of the newest incident."""
    page.goto(f"{base}/incidents")
    return str(re.findall(r"INC-(\d+)", page.content())[0])


def wait_for_approval(page: Page, base: str) -> None:
    """Until the demo's run waits for a person, two minutes at most."""
    for _ in range(60):
        page.goto(f"{base}/")
        if "/approvals/" in page.content():
            return
        time.sleep(2)
    raise SystemExit("The demo asked for no approval within two minutes.")


if __name__ == "__main__":
    main()

"""Pictures from a fresh demo, in Chromium: `make screenshots`.

make screenshots                            those of the README and the guide, into the checkout
make screenshots ARGS="--all <folder>"      every kind of page, in both themes and both sizes, into a folder
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import django
from PIL import Image
from playwright.sync_api import Page

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2]))

# The checkout must be on the path first. `environment` gives settings that touch no data, before Django reads any.
from tests import browser as browsers
from tests import environment, pictures  # noqa: F401

SIZE = {"width": 1280, "height": 800}
LARGEST_BYTES = 150_000


def main() -> None:
    """As the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", metavar="FOLDER", type=Path, help="every kind of page, into this folder")
    target = parser.parse_args().all
    if target is None:
        guide()
        return
    os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
    django.setup()
    pictures.take_all(target)


def guide() -> None:
    """Sign in to a fresh demo as a newcomer does, and take the picture of each step."""
    folder = Path(tempfile.mkdtemp(prefix="pictures-"))
    try:
        with browsers.up(folder) as running, browsers.chromium() as chromium:
            session = browsers.signed_in(chromium, running, viewport=SIZE, color_scheme="light")
            page = session.new_page()
            page.goto(running.base)
            page.get_by_role("link", name="Look and decide").first.wait_for(timeout=180_000)
            take(page, running.base, "now")
            number = re.findall(r"INC-(\d+)", page.locator(".steps-guide").inner_text())[0]
            take(page, f"{running.base}/incidents/{number}", "incident")
            kept = session.storage_state()
            phone = chromium.new_context(viewport=browsers.PHONE, color_scheme="dark", storage_state=kept)
            take(phone.new_page(), f"{running.base}/incidents/{number}", "incident-phone")
            take(page, f"{running.base}/setup", "setup")
            take(page, f"{running.base}/how-it-runs", "how-it-runs")
            page.goto(f"{running.base}/endpoints")
            page.get_by_role("link", name="demo", exact=True).click()
            page.locator(".delivery-at").last.click()
            take(page, page.url, "delivery")
            write_runbook(page, running.base)
            page.goto(running.base)
            page.get_by_role("link", name="Look and decide").first.click()
            take(page, page.url, "approval")
            approve(page)
            # That page loads itself anew while the change is applied; the story goes on in another.
            page = session.new_page()
            page.goto(running.base)
            page.get_by_role("button", name="Draft it").click(timeout=300_000)
            take(page, page.url, "postmortem")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_runbook(page: Page, base: str) -> None:
    """The editor with a fault in it, and what a revision without it changed."""
    address = f"{base}/runbooks/accuracy_drop_demo"
    page.goto(f"{address}/edit")
    begun = page.locator("textarea[name=text]").input_value()
    changed = begun.replace("half_life: 30m", "half_life: 1h").replace("fail than before?", "fail than an hour ago?")
    put(page, changed.replace("check: change.rank", "check: change.rnak", 1))
    page.locator(".finding.is-error [data-goto]").first.click()
    shoot(page, "editor")
    put(page, changed)
    page.keyboard.press("Control+s")
    page.wait_for_url(address)
    take(page, f"{address}/compare", "compare")


def put(page: Page, text: str) -> None:
    """A text in place of all that stands in the editor, as from the clipboard."""
    editor = page.locator(".cm-content")
    editor.click()
    page.keyboard.press("Control+A")
    editor.evaluate(
        """(content, text) => {
          const data = new DataTransfer();
          data.setData("text/plain", text);
          content.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true }));
        }""",
        text,
    )


def approve(page: Page) -> None:
    """As the person on call would: type the version, press the button."""
    page.get_by_role("textbox", name="Type v42 to confirm").first.fill("v42")
    page.get_by_role("button", name="Approve", exact=True).click()
    page.get_by_role("heading", name="What became of it").wait_for()


def take(page: Page, address: str, name: str) -> None:
    """One picture of one page, small enough for a repository."""
    page.goto(address)
    page.wait_for_load_state("load")
    shoot(page, name)


def shoot(page: Page, name: str) -> None:
    """One picture of what is shown now."""
    path = HERE / f"{name}.png"
    page.screenshot(path=path)
    with Image.open(path) as taken:
        # A palette of the octree keeps small coloured signs as they are, which the default merges with their ground.
        few = taken.convert("RGB").quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    few.save(path, optimize=True)
    size = path.stat().st_size
    assert size <= LARGEST_BYTES, f"{path.name} has {size:,} bytes"
    sys.stdout.write(f"{path.relative_to(HERE.parents[2])}  {size:,} bytes\n")


if __name__ == "__main__":
    main()

"""The four pages look as they did when somebody last looked at them: compared with pictures, with some tolerance.

`make references` takes the pictures anew; look at them before they are committed. They are half the size and of few
colours: enough to see what moved, and another version of the browser may smooth its letters differently.
"""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops
from playwright.sync_api import Browser, Page, ViewportSize

from tests import browser as browsers
from tests.factories_pages import NOW
from tests.web.shelf import Shelf, settled

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.django_db]
REFERENCES = Path(__file__).parent / "references"
TAKE = "TAKE_REFERENCES" in os.environ
LARGEST_BYTES = 60_000
# A pixel differs when one of its colours does by more than this; the page, when more than this share of it does.
DIFFERS, SHARE = 60, 0.005
PAGES = ("incident", "run", "approval", "postmortem")


def look(page: Page, address: str) -> Image.Image:
    """The first screen of a page, as it is compared."""
    settled(page, address)
    with Image.open(BytesIO(page.screenshot(animations="disabled", caret="hide"))) as taken:
        return taken.convert("RGB").resize((taken.width // 2, taken.height // 2), Image.Resampling.LANCZOS)


def few_colours(picture: Image.Image) -> Image.Image:
    """Small enough for a repository, the small coloured signs kept."""
    return picture.quantize(128, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)


def difference(one: Image.Image, other: Image.Image) -> tuple[float, Image.Image]:
    """The share of the page that differs, and where."""
    channels = ImageChops.difference(one, other).split()
    most = ImageChops.lighter(ImageChops.lighter(channels[0], channels[1]), channels[2])
    where = most.point(lambda value: 255 if value > DIFFERS else 0)
    return where.histogram()[255] / (where.width * where.height), where


@pytest.mark.parametrize(("scheme", "size"), [("light", browsers.DESK), ("dark", browsers.PHONE)])
def test_the_four_pages_look_as_they_did(
    full: Shelf, chromium: Browser, tmp_path: Path, scheme: Any, size: ViewportSize
) -> None:
    faults = []
    with full.shown(chromium, color_scheme=scheme, viewport=size) as (context, _):
        page = context.new_page()
        page.clock.set_fixed_time(NOW)
        for kind in PAGES:
            now, path = look(page, full.kinds[kind]), REFERENCES / f"{kind}-{scheme}.png"
            if TAKE:
                path.parent.mkdir(exist_ok=True)
                few_colours(now).save(path, optimize=True)
                assert path.stat().st_size <= LARGEST_BYTES, path.name
            elif not path.exists():
                faults.append(f"{path.name} is missing")
            elif told := compared(now, path, tmp_path):
                faults.append(told)
    assert not faults, "\n".join([*faults, "If that is meant: make references, and look at what it took."])


def compared(now: Image.Image, path: Path, folder: Path) -> str:
    """What differs from the reference, in a sentence; three pictures of it are then in the folder."""
    with Image.open(path) as kept:
        before = kept.convert("RGB")
    if before.size != now.size:
        return f"{path.name} is {before.size}, the page {now.size}"
    share, where = difference(before, few_colours(now).convert("RGB"))
    if share <= SHARE:
        return ""
    for name, picture in (("reference", before), ("now", now), ("difference", where)):
        picture.save(folder / f"{path.stem}-{name}.png")
    return f"{path.name}: {share:.1%} of the page differs; see the three pictures in {folder}"


def test_it_sees_what_moved_and_forgives_what_is_smoothed_otherwise() -> None:
    page = Image.new("RGB", (640, 400), "#f6f4ef")
    page.paste("#1b1e24", (40, 40, 400, 56))
    moved = ImageChops.offset(page, 0, 12)
    softer = page.resize((1280, 800), Image.Resampling.BILINEAR).resize((640, 400), Image.Resampling.BOX)
    assert difference(page, moved)[0] > SHARE
    assert difference(page, softer)[0] <= SHARE

"""Writes a picture of every screen, at three widths and in both themes, for looking at:

python -m tests.e2e.screenshots FOLDER [part of a screen's name]
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Literal

from playwright.sync_api import Error, expect, sync_playwright

from tests.e2e.conftest import FLAGS
from tests.e2e.hands import Hands
from tests.e2e.people import HEIGHTS, PATIENCE_MS, People, Profiles
from tests.e2e.product import Product
from tests.e2e.screens import SCREENS, STILL, in_work_ends, scene_of

THEMES: tuple[Literal["light"], Literal["dark"]] = ("light", "dark")


def main(folder: Path, part: str = "") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    expect.set_options(timeout=PATIENCE_MS)
    with tempfile.TemporaryDirectory() as data, sync_playwright() as playwright:
        product = Product(Path(data))
        product.start()
        hands = Hands(product)
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium-headless-shell"), args=FLAGS)
        profiles = Profiles(browser)
        try:
            for width in HEIGHTS:
                scene = scene_of(product, hands)
                for screen in SCREENS:
                    if part not in screen.name:
                        continue
                    people = People(profiles, product, hands)
                    page = people.open(screen.who, width=width, has_touch=width < 640)
                    try:
                        screen.show(page, scene)
                    except (AssertionError, Error) as error:
                        print(f"{screen.name} at {width}: {str(error)[:300]}")
                    for theme in THEMES:
                        page.emulate_media(color_scheme=theme)
                        page.wait_for_function(STILL)
                        page.screenshot(path=folder / f"{screen.name}-{width}-{theme}.png")
                    if screen.name == "in-work":
                        in_work_ends(page, scene)
                    people.leave()
        finally:
            browser.close()
            hands.close()
            product.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:3])

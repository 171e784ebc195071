"""Take the pictures of the page in docs/images: `python tools/screenshots.py RUNS`, over a directory of real trainings.

Shown are the newest completed training, and beside each other the newest three. It needs what `make test-page` does.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from playwright.sync_api import ViewportSize, sync_playwright  # noqa: E402 - behind the path

from tests.page.conftest import OPTIONS, browser_program  # noqa: E402
from tests.receiver.serving import Receiver  # noqa: E402

IMAGES = ROOT / "docs" / "images"
DESKTOP = ViewportSize(width=1280, height=720)
SMALL = ViewportSize(width=1000, height=600)
PHONE = ViewportSize(width=390, height=844)
LARGEST = 150_000


def main() -> None:
    """Take all of them."""
    IMAGES.mkdir(exist_ok=True)
    with Receiver(Path(sys.argv[1])) as receiver, sync_playwright() as playwright:
        site = receiver.url.removesuffix("/api/v1")
        done = [one["run"] for one in receiver.get("/runs", status="completed", operation="training")["runs"]]
        run, compared = f"{site}/run/{done[0]}", f"{site}/compare?run=" + "&run=".join(done[:3])
        browser = playwright.chromium.launch(executable_path=browser_program(), args=OPTIONS)
        for scheme in ("light", "dark"):
            page = browser.new_page(viewport=DESKTOP, color_scheme=scheme)
            take(page, f"{site}/", f"list-{scheme}")
            take(page, run, f"run-{scheme}", "#charts")
        page = browser.new_page(viewport=DESKTOP)
        take(page, compared, "comparison")
        take(browser.new_page(viewport=SMALL), run, "logs", "#logs")
        take(page, compared, "differences", "#values")
        take(browser.new_page(viewport=PHONE), run, "phone")
        browser.close()


def take(page: Any, address: str, name: str, place: str = "body") -> None:
    """One picture, once the charts and images in sight are there."""
    page.goto(address)
    for _ in range(2):  # what is drawn on the way moves what lies behind it
        page.locator(place).evaluate("element => element.scrollIntoView({ behavior: 'instant' })")
        page.wait_for_load_state("networkidle")
    path = IMAGES / f"{name}.png"
    page.screenshot(path=path, animations="disabled")
    if path.stat().st_size > LARGEST:
        sys.exit(f"{path} has {path.stat().st_size} bytes, more than {LARGEST}")


if __name__ == "__main__":
    main()

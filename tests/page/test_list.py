"""The list of runs, in a browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.page.conftest import Viewer, seen_by
from tests.receiver.serving import Receiver, envelope

playwright = pytest.importorskip("playwright.sync_api", reason="the browser's tests are in make test-page")
expect = playwright.expect


@pytest.fixture
def empty(browser: Any, tmp_path: Path) -> Iterator[tuple[Viewer, Receiver]]:
    """A page over no runs, and the receiver that can be told of some."""
    with Receiver(tmp_path / "runs") as receiver, seen_by(browser, receiver) as viewer:
        yield viewer, receiver


def tell(receiver: Receiver, run: str, *events: dict[str, Any], first: int = 1) -> None:
    batch = [envelope(run, seq, event) for seq, event in enumerate(events, first)]
    answer = receiver.post(f"/training/jobs/{run}/events", {"events": batch})
    assert answer.json()["rejected"] == {}, answer.text


def names(viewer: Viewer) -> list[str]:
    return viewer.page.locator("table.runs th[scope] a").all_inner_texts()


def test_real_trainings_stand_in_the_list_as_they_ended(viewer: Viewer) -> None:
    page = viewer.go("/")
    expect(page.locator('tr[data-key="yolo"]')).to_contain_text("completed")
    expect(page.locator('tr[data-key="yolo"]')).to_contain_text("3 of 3 epochs")
    expect(page.locator('tr[data-key="yolo"]')).to_contain_text("metrics/mAP50-95(B)")
    expect(page.locator('tr[data-key="broken"]')).to_contain_text("failed")
    assert {"yolo", "mm", "broken"} <= set(names(viewer))


def test_filters_and_search_are_in_the_address(viewer: Viewer) -> None:
    page = viewer.go("/")
    page.locator(".chips a", has_text="failed").click()
    expect(page).to_have_url(re.compile(r"\?status=failed$"))
    assert names(viewer) == ["broken"]
    viewer.go("/")
    page.get_by_label("search").fill("mmengine")
    page.get_by_role("button", name="show").click()
    assert names(viewer) == ["mm"]
    expect(page).to_have_url(re.compile("search=mmengine"))
    page.get_by_label("search").fill("nothing like that")
    page.keyboard.press("Enter")
    expect(page.locator(".empty")).to_contain_text("No run is like that")


def test_a_run_appears_and_moves_while_one_looks(empty: tuple[Viewer, Receiver]) -> None:
    viewer, receiver = empty
    page = viewer.go("/")
    expect(page.locator(".empty")).to_contain_text("No run yet")
    tell(receiver, "7", {"type": "run_started", "model": "yolo11n", "total_epochs": 4})
    row = page.locator('tr[data-key="7"]')
    expect(row).to_contain_text("0 of 4 epochs", timeout=10_000)
    row.get_by_role("checkbox").check()
    tell(receiver, "7", {"type": "epoch_ended", "epoch": 1, "total_epochs": 4}, first=2)
    expect(row).to_contain_text("1 of 4 epochs", timeout=10_000)
    expect(row.get_by_role("checkbox")).to_be_checked()
    tell(receiver, "8", {"type": "run_started"})
    expect(page.locator("tbody tr")).to_have_count(2, timeout=10_000)
    expect(row.get_by_role("checkbox")).to_be_checked()


def test_script_in_names_is_text(empty: tuple[Viewer, Receiver]) -> None:
    viewer, receiver = empty
    hostile = "<script>document.title='broken'</script>"
    tell(
        receiver,
        "'\"><img src=x onerror=document.title='broken'>",
        {"type": "run_started", "model": hostile, "params": {hostile: hostile}, "class_names": [hostile]},
        {"type": "epoch_ended", "epoch": 1, "metrics": {hostile: 1.5}},
        {"type": "logged", "level": "ERROR", "message": hostile, "source": hostile},
        {"type": "run_failed", "error": "UnknownError", "message": hostile, "exception": hostile, "traceback": hostile},
    )
    page = viewer.go("/")
    expect(page.locator("tbody tr")).to_contain_text(hostile)
    page.locator("table.runs th[scope] a").click()
    expect(page.locator(".failure")).to_contain_text(hostile)
    expect(page.locator("#plots figcaption")).to_have_text(hostile)
    expect(page.locator("#logs li")).to_contain_text(hostile)
    expect(page.locator(".js-plotly-plot .legendtext")).to_have_count(1)
    assert page.title() != "broken"


def test_runs_are_chosen_for_comparison(viewer: Viewer) -> None:
    page = viewer.go("/")
    button = page.locator("#compare")
    expect(button).to_be_disabled()
    for run in ("yolo", "broken"):
        page.get_by_label(f"choose {run}").check()
    expect(button).to_have_text("compare 2 runs")
    button.click()
    expect(page).to_have_url(re.compile(r"/compare\?run=(yolo&run=broken|broken&run=yolo)$"))
    expect(page.get_by_role("heading", level=1)).to_have_text("2 runs compared")


def test_by_keyboard_alone_one_gets_to_a_run(viewer: Viewer) -> None:
    page = viewer.go("/?status=failed")
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    reached = viewer.wait(lambda: page.keyboard.press("Tab") or _focused(page) == "broken", "the focus on the run")
    assert reached
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("broken")


def _focused(page: Any) -> str:
    return page.evaluate("document.activeElement.textContent")


def test_dark_or_light_is_the_systems_until_one_chooses(viewer: Viewer) -> None:
    page = viewer.page
    page.emulate_media(color_scheme="dark")
    viewer.go("/")
    root = page.locator("html")
    expect(root).to_have_attribute("data-theme", "dark")
    page.locator("#theme").click()
    expect(root).to_have_attribute("data-theme", "light")
    page.reload()
    expect(root).to_have_attribute("data-theme", "light")


@pytest.mark.parametrize("path", ["/", "/run/yolo", "/run/broken", "/compare?run=yolo&run=broken"])
def test_on_a_phone_nothing_is_wider_than_the_screen(browser: Any, served: Receiver, path: str) -> None:
    with seen_by(browser, served, viewport={"width": 390, "height": 844}) as viewer:
        page = viewer.go(path)
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.scrollWidth") == 390

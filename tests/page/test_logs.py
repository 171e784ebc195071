"""A run's logs, in a browser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.page.conftest import Viewer, seen_by
from tests.page.test_list import tell
from tests.receiver.serving import Receiver

playwright = pytest.importorskip("playwright.sync_api", reason="the browser's tests are in make test-page")
expect = playwright.expect
HOSTILE = "<script>document.title='broken'</script><b>bold</b> & \x1b[31mred"


def logged(*messages: str, level: str = "INFO") -> list[dict[str, Any]]:
    return [{"type": "logged", "level": level, "message": message} for message in messages]


@pytest.fixture(scope="module")
def logging(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    """`much` has 450 lines and is over; `going` has one and goes on."""
    with Receiver(tmp_path_factory.mktemp("logging")) as receiver:
        lines = logged(*(f"line {number:03d}" for number in range(450)))
        trouble = [
            *logged("watch out", level="WARNING"),
            *logged(HOSTILE, level="ERROR"),
            *logged("noise", level="DEBUG"),
        ]
        tell(receiver, "much", {"type": "run_started"}, *lines, *trouble, {"type": "run_completed"})
        tell(receiver, "going", {"type": "run_started"}, *logged("the first"))
        yield receiver


@pytest.fixture
def viewer(browser: Any, logging: Receiver) -> Iterator[Viewer]:
    with seen_by(browser, logging) as viewer:
        yield viewer


def lines(viewer: Viewer) -> Any:
    return viewer.page.locator("#logs li")


def go(viewer: Viewer, run: str) -> Any:
    """To the logs of the run."""
    page = viewer.go(f"/run/{run}")
    expect(lines(viewer).first).to_be_attached()
    look_at_it(page)
    return page


def look_at_it(page: Any) -> None:
    page.locator("#logs .scroll").evaluate("box => box.scrollIntoView({ block: 'center', behavior: 'instant' })")


def test_the_newest_lines_are_shown_and_older_ones_on_demand(viewer: Viewer) -> None:
    page = go(viewer, "much")
    expect(lines(viewer)).to_have_count(200)
    expect(lines(viewer).last).to_be_in_viewport()
    expect(lines(viewer).first).to_contain_text("line 252")
    older = page.get_by_role("button", name="older")
    page.locator("#logs .scroll").evaluate("box => { box.scrollTop = 0; }")
    older.click()
    expect(lines(viewer)).to_have_count(400)
    expect(page.locator("#logs li", has_text="line 252")).to_be_in_viewport()  # it stays where one was
    older.click()
    expect(lines(viewer)).to_have_count(452)
    expect(lines(viewer).first).to_contain_text("line 000")
    expect(older).to_be_hidden()


def test_lines_are_chosen_by_level_and_by_words(viewer: Viewer) -> None:
    page = go(viewer, "much")
    page.get_by_label("at least").select_option("WARNING")
    expect(lines(viewer)).to_have_count(2)
    page.get_by_label("at least").select_option("DEBUG")
    page.locator("#logs").get_by_label("search").fill("LINE 04")
    expect(lines(viewer)).to_have_count(10)
    page.locator("#logs").get_by_label("search").fill("nothing of the kind")
    expect(lines(viewer)).to_have_count(0)


def test_whatever_a_line_holds_is_text(viewer: Viewer) -> None:
    page = go(viewer, "much")
    page.get_by_label("at least").select_option("ERROR")
    expect(lines(viewer)).to_have_count(1)
    assert lines(viewer).inner_text().endswith(HOSTILE)
    assert page.title() != "broken"


def test_new_lines_appear_as_long_as_one_follows(viewer: Viewer, logging: Receiver) -> None:
    page = go(viewer, "going")
    expect(lines(viewer)).to_have_count(1)
    tell(logging, "going", *logged("the second"), first=3)
    expect(lines(viewer)).to_have_count(2)
    tell(logging, "going", *logged(*(f"more {number}" for number in range(100))), first=4)
    expect(lines(viewer)).to_have_count(102)
    look_at_it(page)  # it has become larger
    expect(lines(viewer).last).to_be_in_viewport()
    page.locator("#logs .scroll").evaluate("box => { box.scrollTop = 0; }")
    tell(logging, "going", *logged("one more"), first=104)
    expect(lines(viewer)).to_have_count(103)
    expect(lines(viewer).first).to_be_in_viewport()  # who reads what was is left there
    page.get_by_label("follow").uncheck()
    page.wait_for_load_state("networkidle")
    tell(logging, "going", *logged("unseen"), first=105)
    page.get_by_label("follow").check()
    expect(lines(viewer)).to_have_count(104)


def test_at_most_five_thousand_lines_are_kept(viewer: Viewer, logging: Receiver) -> None:
    page = go(viewer, "going")
    tell(logging, "going", *logged(*("a storm" for _ in range(1999))), first=1000)
    tell(logging, "going", *logged(*("a storm" for _ in range(1999))), first=3000)
    tell(logging, "going", *logged(*("a storm" for _ in range(1999)), "its end"), first=5000)
    expect(lines(viewer).last).to_contain_text("its end", timeout=30_000)
    assert lines(viewer).count() == 5000
    expect(page.get_by_role("button", name="older")).to_be_hidden()

"""One run's page, in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.hosts import scripts, ultralytics
from tests.page.conftest import Viewer, seen_by
from tests.receiver.serving import Receiver
from trainer_hooks import start_run

playwright = pytest.importorskip("playwright.sync_api", reason="the browser's tests are in make test-page")
expect = playwright.expect


def test_a_training_of_ultralytics(viewer: Viewer) -> None:
    page = viewer.go("/run/yolo")
    expect(page.locator(".headline")).to_contain_text("completed")
    expect(page.locator(".facts")).to_contain_text("ultralytics")
    expect(page.locator('#checkpoints tr[data-key="best"]')).to_contain_text("best")
    expect(page.locator('#checkpoints tr[data-key="last"]')).to_be_visible()
    expect(page.locator("#plots figcaption", has_text="metrics/mAP50-95(B)")).to_be_visible()
    expect(page.locator("#logs li").first).to_be_visible()


def test_what_the_framework_has_drawn_is_shown(viewer: Viewer) -> None:
    page = viewer.go("/run/yolo")
    images = page.locator("#images img")
    expect(page.locator("#images figcaption", has_text="confusion_matrix").first).to_be_visible()
    assert images.count() >= 5
    images.last.scroll_into_view_if_needed()
    viewer.wait(lambda: images.last.evaluate("image => image.naturalWidth") > 100, "the image")


def test_parameters_are_filtered_as_one_types(viewer: Viewer) -> None:
    page = viewer.go("/run/yolo")
    pairs = page.locator("#parameter-list dl > div")
    before = pairs.count()
    page.get_by_label("filter").fill("momentum")
    assert 0 < page.locator("#parameter-list dl > div:visible").count() < before


def test_a_training_that_failed_says_why(viewer: Viewer) -> None:
    page = viewer.go("/run/broken")
    failure = page.locator(".failure")
    expect(failure.locator(".message")).to_have_text("the user's own error")
    expect(failure).to_contain_text("RuntimeError")
    expect(failure.locator("pre").first).to_contain_text("Traceback (most recent call last)")


def test_steps_of_an_action(viewer: Viewer) -> None:
    page = viewer.go("/?search=steps")
    page.locator("table.runs th[scope] a").first.click()
    expect(page.locator('#steps tr[data-key="train"]')).to_contain_text("75 % of the whole")
    expect(page.locator('#steps tr[data-key="load"]')).to_contain_text("done")


def test_a_training_is_followed_while_it_runs_and_stopped(browser: Any, tmp_path: Path, own_environment: Path) -> None:
    assert own_environment
    with Receiver(tmp_path / "received") as receiver:
        settings = {"CALLBACK_URL": receiver.url, "JOB_ID": "7", "TRAINER_HOOKS_HEARTBEAT": "1"}
        with scripts.start(ultralytics, tmp_path, "--autolog", epochs=500, **settings) as training:
            with seen_by(browser, receiver) as viewer:
                page = viewer.page
                viewer.wait(lambda: receiver.http.get("/runs/7").status_code == 200, "the run")
                viewer.go("/run/7")
                page.once("dialog", lambda dialog: dialog.accept())
                count = page.locator(".headline .count")
                first = count.inner_text()
                viewer.wait(lambda: count.inner_text() != first, "the next epoch")
                plot = page.locator(".js-plotly-plot").first
                points = int(plot.get_attribute("data-points") or 0)
                viewer.wait(lambda: int(plot.get_attribute("data-points") or 0) > points, "the next point")
                page.get_by_role("button", name="stop the training").click()
                expect(page.locator(".headline")).to_contain_text("interrupted", timeout=60_000)
            training.communicate(timeout=60)
    assert training.returncode == 0


def test_one_that_only_writes_into_the_same_directory_is_stopped_too(browser: Any, tmp_path: Path) -> None:
    with (
        Receiver(tmp_path / "runs") as receiver,
        seen_by(browser, receiver) as viewer,
        start_run(run_id="a", directory=str(tmp_path / "runs"), delivery="none") as run,
    ):
        run.started(total_epochs=9)
        page = viewer.go("/run/a")
        page.once("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="stop the training").click()
        viewer.wait(lambda: run.should_stop, "the wish")
        expect(page.locator(".headline")).to_contain_text("stopping")
    assert run.stop_reason == "job 'a' was cancelled at the receiver"


def test_a_run_that_is_not_there(browser: Any, served: Receiver) -> None:
    assert served.http.get(served.url.removesuffix("/api/v1") + "/run/none").status_code == 404
    with seen_by(browser, served) as viewer:
        page = viewer.go("/run/none")
        expect(page.get_by_role("heading")).to_have_text("There is no run none")
        viewer.wrong.clear()  # the browser itself notes a 404

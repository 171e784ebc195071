"""Charts of one run, and of several, in a browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.page.conftest import Viewer, seen_by
from tests.receiver.serving import Receiver
from tests.waiting import wait_until
from trainer_hooks.attempts import safe_name
from trainer_hooks.events import EpochEnded, MetricsLogged, RunCompleted, RunStarted
from trainer_hooks.journal import Journal

playwright = pytest.importorskip("playwright.sync_api", reason="the browser's tests are in make test-page")
expect = playwright.expect
HOSTILE = "<b>x</b> & <img src=x onerror=document.title='broken'>"
MANY, SPIKE = 1_000_000, 765_432
TITLES = {"step": "iteration", "relative": "minutes", "time": "time"}
# How many points of the line lie within the part of the axis that is shown.
IN_SIGHT = """plot => {
  const { d2l, range } = plot._fullLayout.xaxis;
  return plot.data.at(-1).x.filter(x => d2l(x) >= d2l(range[0]) && d2l(x) <= d2l(range[1])).length;
}"""


def write(root: Path, run: str, *events: Any, attempt: int = 1) -> None:
    journal = Journal(root / safe_name(run), run=run, attempt=attempt, writer="training", origin=f"a{attempt}")
    for event in events:
        journal.append(event)
    journal.close()


def epochs(first: int, last: int, factor: float = 1.0) -> list[EpochEnded]:
    return [
        EpochEnded(
            epoch=epoch,
            metrics={
                "train/box_loss": factor / epoch,
                "val/box_loss": "NaN" if epoch == 3 else 2 * factor / epoch,
                "metrics/mAP50(B)": 1 - 1 / epoch,
                "lr/pg0": 0.01 / epoch,
                "lr/pg1": 0.02 / epoch,
                HOSTILE: float(epoch),
            },
        )
        for epoch in range(first, last + 1)
    ]


@pytest.fixture(scope="module")
def charted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    """`a` was resumed behind its sixth epoch; `b <i>` and `c` differ; `wide` has 60 metrics."""
    root = tmp_path_factory.mktemp("charted")
    write(root, "a", RunStarted(model="n", params={"lr0": 0.01, "seed": 1}), *epochs(1, 6))
    write(root, "a", RunStarted(model="n", params={"lr0": 0.01, "seed": 1}), *epochs(7, 10), RunCompleted(), attempt=2)
    for run, lr in (("b <i>", 0.02), ("c", 0.03)):
        write(root, run, RunStarted(model="s", params={"lr0": lr, "seed": 1}), *epochs(1, 10, 10 * lr), RunCompleted())
    write(
        root, "wide", EpochEnded(epoch=1, metrics={f"class {number:02d}": 1.0 for number in range(60)}), RunCompleted()
    )
    with Receiver(root) as receiver:
        yield receiver


@pytest.fixture
def viewer(browser: Any, charted: Receiver) -> Iterator[Viewer]:
    with seen_by(browser, charted) as viewer:
        yield viewer


def chart(viewer: Viewer, name: str) -> Any:
    """The chart, once it is drawn."""
    found = viewer.page.locator("#plots figure", has=viewer.page.get_by_text(name, exact=True)).first
    found.scroll_into_view_if_needed()
    expect(found.locator(".main-svg").first).to_be_visible()
    return found


def drawn(found: Any) -> list[dict[str, Any]]:
    """The lines as plotly.js has them."""
    lines: list[dict[str, Any]] = found.locator(".js-plotly-plot").evaluate(
        "plot => plot.data.map(({name, x, y, line, opacity, showlegend, fill}) =>"
        " ({name, x: [...x], y: [...y], line, opacity, showlegend, fill}))"
    )
    return lines


def layout(found: Any, what: str) -> Any:
    return found.locator(".js-plotly-plot").evaluate(f"plot => plot.layout.{what}")


def legend(found: Any) -> list[str]:
    return [text.replace("\xa0", " ") for text in found.locator(".legendtext").all_text_contents()]


def test_train_and_val_of_a_quantity_share_a_chart(viewer: Viewer) -> None:
    page = viewer.go("/run/a")
    loss = chart(viewer, "box_loss")
    assert legend(loss) == ["train", "val"]
    assert page.locator("#plots figcaption").all_inner_texts() == [
        "metrics/mAP50(B)",
        HOSTILE,
        "box_loss",
        "learning rate",
    ]
    assert legend(chart(viewer, "learning rate")) == ["lr/pg0", "lr/pg1"]


def test_attempts_continue_in_one_colour_with_a_mark_and_values_that_are_no_number_are_marked(viewer: Viewer) -> None:
    viewer.go("/run/a")
    loss = chart(viewer, "box_loss")
    train = [line for line in drawn(loss) if line["name"] == "train"]
    assert [line["x"] for line in train] == [[1, 2, 3, 4, 5, 6], [7, 8, 9, 10]]
    assert train[0]["line"]["color"] == train[1]["line"]["color"]
    assert [(mark["x0"], mark["line"]["dash"]) for mark in layout(loss, "shapes")] == [(7, "dash"), (3, "dot")]
    expect(loss.locator(".annotation-text")).to_have_text("1 not finite")


def test_names_are_text(viewer: Viewer) -> None:
    page = viewer.go("/compare?run=a&run=b%20%3Ci%3E")
    assert legend(chart(viewer, HOSTILE)) == ["a", "b <i>"]
    viewer.go("/run/a")
    assert legend(chart(viewer, HOSTILE)) == [HOSTILE]
    assert "broken" not in page.title()


def test_smoothing_keeps_the_raw_line_and_asks_nothing_of_the_server(viewer: Viewer) -> None:
    page = viewer.go("/run/c")
    found = chart(viewer, "metrics/mAP50(B)")
    raw = drawn(found)[0]["y"]
    page.wait_for_load_state("networkidle")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.get_by_label("smoothing").fill("0.6")
    viewer.wait(lambda: len(drawn(found)) == 2, "the smooth line beside the raw one")
    faint, smooth = drawn(found)
    assert (faint["y"], faint["opacity"], faint["showlegend"]) == (raw, 0.3, False)
    # TensorBoard's: an exponential moving average, corrected for its beginning.
    assert smooth["y"][:2] == pytest.approx([raw[0], (0.4 * 0.6 * raw[0] + 0.4 * raw[1]) / (1 - 0.36)])
    page.get_by_label("log scale").check()
    viewer.wait(lambda: layout(found, "yaxis.type") == "log", "the log scale")
    assert asked == []


@pytest.mark.parametrize(("over", "kind", "first"), [("relative", "linear", 0), ("time", "date", None)])
def test_the_axis_can_be_time(viewer: Viewer, over: str, kind: str, first: int | None) -> None:
    page = viewer.go("/run/c")
    found = chart(viewer, "metrics/mAP50(B)")
    page.get_by_label("over").select_option(over)
    viewer.wait(lambda: layout(found, "xaxis.type") == kind and drawn(found)[0]["x"][0] != 1, "the other axis")
    times = drawn(found)[0]["x"]
    assert times == sorted(times)
    assert first is None or times[0] == first


def test_a_metric_of_epochs_says_so_over_iterations(viewer: Viewer) -> None:
    page = viewer.go("/run/c")
    found = chart(viewer, "metrics/mAP50(B)")
    page.get_by_label("over").select_option("iteration")
    expect(found.locator(".annotation-text")).to_have_text("not told at iterations")


def test_charts_out_of_sight_are_not_asked_for(viewer: Viewer) -> None:
    page = viewer.page
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/series" in request.url else None)
    viewer.go("/run/wide")
    chart(viewer, "class 00")
    page.wait_for_load_state("networkidle")
    assert page.locator("#plots figure").count() == 60
    assert len(asked) < 30
    chart(viewer, "class 59")


def test_metrics_are_filtered_by_name(viewer: Viewer) -> None:
    page = viewer.go("/run/a")
    chart(viewer, "box_loss")
    page.get_by_label("metrics", exact=True).fill("VAL/")
    expect(page.locator("#plots figcaption:visible")).to_have_text(["box_loss"])
    expect(page.locator("#plots h3:visible")).to_have_text(["losses"])


def test_each_chart_is_a_table_too(viewer: Viewer) -> None:
    viewer.go("/run/a")
    loss = chart(viewer, "box_loss")
    loss.get_by_text("values").click()
    cells = loss.locator("tbody tr").first.locator("td")
    expect(cells).to_have_text(["train/box_loss", "0.16667", "0.16667", "1", "epoch 6"])


def test_runs_are_overlaid_one_colour_each_and_can_be_left_out(viewer: Viewer) -> None:
    page = viewer.go("/compare?run=a&run=b%20%3Ci%3E&run=c")
    found = chart(viewer, "metrics/mAP50(B)")
    assert legend(found) == ["a", "b <i>", "c"]
    colours = {line["name"]: line["line"]["color"] for line in drawn(found)}
    assert len(set(colours.values())) == 3
    page.locator('input[data-run="c"]').uncheck()
    viewer.wait(lambda: legend(found) == ["a", "b <i>"], "two of them")
    assert {line["line"]["color"] for line in drawn(found)} == {colours["a"], colours["b &lt;i&gt;"]}
    assert len({line["line"]["dash"] for line in drawn(chart(viewer, "box_loss"))}) == 2


def test_a_comparison_shows_where_parameters_and_values_differ(viewer: Viewer) -> None:
    page = viewer.go("/compare?run=a&run=c")
    expect(page.locator("#differences tbody tr")).to_have_text(["lr0 0.01 0.03".replace(" ", "")])
    expect(page.locator("#differences")).to_contain_text("1 parameters are the same")
    row = page.locator("#values tr", has_text="train/box_loss")
    assert row.locator("td").all_inner_texts() == ["0.1", "0.03"]


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    """A run of a million iterations, one of them a spike."""
    root = tmp_path_factory.mktemp("long")
    losses = (9.0 if at == SPIKE else 1 / (1 + at % 7) for at in range(MANY))
    told = (MetricsLogged(metrics={"loss": loss}, iteration=at) for at, loss in enumerate(losses))
    write(root, "long", *told, RunCompleted())
    with Receiver(root) as receiver:
        wait_until(lambda: sum(one["points"] for one in receiver.get("/runs/long/metrics")) == MANY, 120, "the index")
        yield receiver


@pytest.fixture
def far(browser: Any, long: Receiver) -> Iterator[Viewer]:
    with seen_by(browser, long) as viewer:
        yield viewer


def test_of_a_million_points_five_hundred_are_drawn_and_no_spike_is_lost(far: Viewer) -> None:
    far.go("/run/long")
    found = chart(far, "loss")
    far.wait(lambda: found.locator("[data-points]").count(), "the points")
    low, high, mean = drawn(found)
    assert len(mean["x"]) <= 500
    assert (max(high["y"]), min(low["y"])) == (9.0, pytest.approx(1 / 7))
    assert high["fill"] == "tonexty"


@pytest.mark.parametrize("over", ["step", "relative", "time"])
def test_closer_there_are_more_points(far: Viewer, over: str) -> None:
    page = far.go("/run/long")
    found = chart(far, "loss")
    page.get_by_label("over").select_option(over)
    far.wait(lambda: layout(found, "xaxis.title.text").startswith(TITLES[over]), "the axis")
    box = found.locator(".nsewdrag").bounding_box()
    left, top = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(left, top)
    page.mouse.down()
    page.mouse.move(left + box["width"] / 50, top, steps=4)
    page.mouse.up()
    plot = found.locator(".js-plotly-plot")
    far.wait(lambda: plot.evaluate(IN_SIGHT) > 200, "finer points")
    page.mouse.dblclick(left, top)
    far.wait(lambda: layout(found, "xaxis.autorange") and max(drawn(found)[1]["y"]) == 9.0, "all of it again")

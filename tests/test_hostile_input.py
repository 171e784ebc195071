"""Whatever a host gives: nothing raises, nothing blocks, the rest of the event is told, and it can be delivered."""

from __future__ import annotations

import decimal
import fractions
import importlib.util
import itertools
import json
import math
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.servers.platform import PlatformServer
from trainer_hooks import current_run, start_run
from trainer_hooks.events import (
    CheckpointSaved,
    EpochEnded,
    ExportCompleted,
    ImageSaved,
    InferenceCompleted,
    Logged,
    MetricsSkipped,
    RunCompleted,
    RunFailed,
    RunInterrupted,
    RunStarted,
    SegmentOpened,
    Validated,
)
from trainer_hooks.journal import read_records, segments
from trainer_hooks.ledger import read_ledger
from trainer_hooks.run import Run

LONGEST_LINE = (3 << 20) + 1000


class Raises:
    """Raises at whatever is asked of it, be it only its class."""

    def __getattribute__(self, name):
        raise RuntimeError(name)

    def __str__(self):
        raise RuntimeError("no text")

    __repr__ = __float__ = __int__ = __bool__ = __iter__ = __len__ = __eq__ = __hash__ = __str__


class Recurses:
    """Asks itself, without end."""

    def __str__(self):
        return str(self)

    __repr__ = __str__

    def __float__(self):
        return float(self)

    def __iter__(self):
        return iter(self)

    def __fspath__(self):
        return os.fspath(self)

    def items(self):
        return self.items()


class AnswersWrongly:
    """Gives another type than the one that each question is for."""

    def items(self):
        return 7

    keys = __str__ = __repr__ = __float__ = __int__ = __bool__ = __iter__ = __fspath__ = items


class WithoutItems(dict):
    """A mapping that can't be asked for its items."""

    def items(self):
        raise RuntimeError("items")


class ChangesMeanwhile(dict):
    """A mapping that somebody adds to while it is read."""

    def items(self):
        for key, value in super().items():
            self[f"new {len(self)}"] = 1
            yield key, value


class Endless(dict):
    """A mapping without an end."""

    def items(self):
        return ((f"key {number}", number) for number in itertools.count())


class EndlessList(list):
    """A list without an end."""

    def __iter__(self):
        return itertools.count()


class OwnText(str):
    """A text whose class has methods of its own, all of which raise."""

    __slots__ = ()

    def __len__(self):
        raise RuntimeError("no length")

    __str__ = __hash__ = __eq__ = encode = isascii = strip = __len__


class OwnNumber(int):
    """As `OwnText`, of a number."""

    def __int__(self):
        raise RuntimeError("no number")

    __abs__ = __float__ = __lt__ = __le__ = __index__ = __str__ = __int__


class ManyWords:
    """Says of itself more than anybody wants to know."""

    def __str__(self):
        return "x" * 10_000_000


def cyclic() -> dict[str, Any]:
    found: dict[str, Any] = {"a": 1}
    found["list"] = [found, {"again": found}]
    return found


def nested(wrap: Callable[[Any], Any]) -> Any:
    found: Any = 1
    for _ in range(10_000):
        found = wrap(found)
    return found


HOSTILE: dict[str, Callable[[], Any]] = {
    "raises": Raises,
    "recurses": Recurses,
    "answers wrongly": AnswersWrongly,
    "mapping without items": lambda: WithoutItems(x=1),
    "mapping that changes": lambda: ChangesMeanwhile(a=1, b=2),
    "endless mapping": Endless,
    "endless list": EndlessList,
    "generator": lambda: (number for number in itertools.count()),
    "own text": lambda: OwnText("abc"),
    "own number": lambda: OwnNumber(3),
    "many words": ManyWords,
    "cyclic": cyclic,
    "nested lists": lambda: nested(lambda inner: [inner]),
    "nested mappings": lambda: nested(lambda inner: {"a": inner}),
    "10 MB of text": lambda: "x" * 10_000_000,
    "10 MB of two-byte text": lambda: "이" * 5_000_000,
    "10 MB of bytes": lambda: b"\xff" * 10_000_000,
    "20,000 keys": lambda: {number: number / 7 for number in range(20_000)},
    "20,000 items": lambda: list(range(20_000)),
    "surrogates": lambda: "a\ud800b",
    "NUL and quotes": lambda: "a\0b\n'\"\\\x7f\x1b[31m",
    "empty text": lambda: "",
    "huge number": lambda: 10**400,
    "number too long to print": lambda: 10**10_000,
    "complex": lambda: 1j,
    "NaN": lambda: float("nan"),
    "infinity": lambda: 1e400,
    "decimal": lambda: decimal.Decimal("1e999999"),
    "fraction": lambda: fractions.Fraction(10**500, 3),
    "None": lambda: None,
    "a class": lambda: int,
    "bytearray": lambda: bytearray(b"\xff"),
    "datetime64": lambda: np.datetime64("2024-01-01"),
    "long double": lambda: np.longdouble("1e4000"),
    "masked": lambda: np.ma.masked,
    "objects in an array": lambda: np.array([None, AnswersWrongly], dtype=object)[:1],
    "an exception": lambda: ValueError("\ud800"),
}
if importlib.util.find_spec("torch"):  # not every Python has a build of it for the CPU
    import torch

    HOSTILE |= {
        "half": lambda: torch.tensor(0.5, dtype=torch.half, requires_grad=True),
        "bfloat16": lambda: torch.tensor([0.5], dtype=torch.bfloat16),
        "complex tensor": lambda: torch.tensor(1j),
        "meta": lambda: torch.empty((), device="meta"),
        "sparse": lambda: torch.zeros(3).to_sparse(),
    }
pytestmark = pytest.mark.timeout(60)


@pytest.fixture(autouse=True)
def nobody_delivers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TRAINER_HOOKS_DELIVERY", "none")
    yield
    while (run := current_run()) is not None:
        run.interrupt("the test is over")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "some.pt"
    path.write_bytes(b"x")
    return path


def events(run: Run) -> list[Any]:
    return [record.event for record in read_records(run.directory) if not isinstance(record.event, SegmentOpened)]


def of_kind(run: Run, kind: type[Any]) -> list[Any]:
    return [event for event in events(run) if isinstance(event, kind)]


def assert_readable(run: Run) -> None:
    """Every line is JSON that any reader takes, and of a bounded length."""
    for _, path in segments(run.directory):
        for line in path.read_bytes().splitlines():
            json.loads(line.decode("utf-8", "strict"), parse_constant=pytest.fail)
            assert len(line) < LONGEST_LINE, line[:200]


def tell_all(run: Run, file: Path, value: Any) -> None:
    """The value in every place that a run takes one, each beside something that is readable."""
    run.started(
        params={"lr": 0.5, "it": value},
        dataset=value,
        class_names=value,
        versions={"it": value},
        model=value,
        operation=value,
        total_epochs=value,
        output_dir=value,
    )
    run.log_metrics({"loss": 0.5, "it": value}, epoch=1, total_epochs=value, duration=value)
    run.log_metrics(value, epoch=2)
    run.log_metrics({"loss": 1.0}, epoch=value, iteration=value)
    run.log_validation(
        {"map": 0.5, "it": value},
        epoch=1,
        per_class={"cat": {"ap": 0.5, "it": value}, "dog": value},
        class_names=["cat", value],
        images={"plot": value},
        task=value,
        primary=value,
        is_best=value,
    )
    run.log_validation(value, epoch=value, per_class=value, class_names=value, images=value)
    run.log_checkpoint(file, names=[value, "last"], epoch=value, metrics={"loss": 0.5, "it": value}, final=value)
    run.log_checkpoint(file, names=value, iteration=value, metrics=value)
    run.log_image(file, title=value, epoch=value, iteration=value)
    run.log("plain", value, source=value, extra=value, data=value, more={"it": value})
    run.log(value)
    run.progress(value, value, value)
    run.progress(1, 2, value)
    results = [{"image_path": "/a.png", "it": value}, value]
    run.report_inference_completed(
        total_images=value, total_inference_time_ms=value, results=results, result_urls={"it": value}
    )
    run.report_inference_completed(total_images=1, total_inference_time_ms=1, results=value, result_urls=value)
    run.report_export_completed(
        export_format=value, output_s3_uri=value, file_size_bytes=value, metadata={"ok": 1, "it": value}
    )


COUNTS = {RunStarted: 1, Validated: 2, CheckpointSaved: 2, ImageSaved: 1, InferenceCompleted: 2, ExportCompleted: 1}


@pytest.mark.parametrize("name", HOSTILE)
def test_whatever_is_told_every_event_is_kept_with_all_else_that_is_in_it(name, file):
    value = HOSTILE[name]()
    run = start_run()
    tell_all(run, file, value)
    for kind, count in COUNTS.items():
        assert len(of_kind(run, kind)) == count + (kind is RunStarted), kind
    started, validated = of_kind(run, RunStarted)[1], of_kind(run, Validated)[0]
    first, second = of_kind(run, EpochEnded)[:2]
    assert started.params["lr"] == 0.5
    assert (first.epoch, first.metrics["loss"], second.epoch) == (1, 0.5, 2)
    assert (validated.metrics["map"], validated.per_class["cat"]["ap"], validated.class_names[0]) == (0.5, 0.5, "cat")
    assert of_kind(run, CheckpointSaved)[0].metrics["loss"] == 0.5
    assert of_kind(run, CheckpointSaved)[0].names[-1] == "last"
    assert [event for event in of_kind(run, Logged) if event.message == "plain"]
    assert of_kind(run, InferenceCompleted)[0].results[0]["image_path"] == "/a.png"
    assert of_kind(run, ExportCompleted)[0].metadata["ok"] == 1
    told = first.metrics.get("it")
    reasons = {key: text for event in of_kind(run, MetricsSkipped) for key, text in event.reasons.items()}
    assert (told is None) == ("it" in reasons), "told, or named with the reason"
    assert_readable(run)


ENDS: dict[str, tuple[type[Any], Callable[[Run, Any], None]]] = {
    "complete": (RunCompleted, lambda run, value: run.complete({"loss": 0.5, "it": value}, checkpoints={"x": value})),
    "complete by": (RunCompleted, lambda run, value: run.complete(value, checkpoints=value)),
    "fail": (RunFailed, lambda run, value: run.fail(value)),
    "fail with": (
        RunFailed,
        lambda run, value: run.fail("boom", error_type=value, traceback_text=value, exit_status=value),
    ),
    "interrupt": (RunInterrupted, lambda run, value: run.interrupt(value)),
}


@pytest.mark.parametrize("end", ENDS)
def test_whatever_an_end_is_told_with_it_is_told(end, capfd):
    kind, call = ENDS[end]
    for make in HOSTILE.values():
        run = start_run()
        call(run, make())
        assert isinstance(events(run)[-1], kind)
        if end == "fail with":
            assert events(run)[-1].message == "boom"
        assert_readable(run)
    capfd.readouterr()


def test_a_name_of_a_metric_that_raises_is_told_as_its_type():
    run = start_run()
    key = type("Key", (), {"__str__": lambda _: 1 / 0, "__hash__": lambda _: 7})()
    run.log_metrics({key: 1, "": 2, "a\nb\0'\"": 3, 4: 4, "x" * 10_000: 5, "\ud800": 6}, epoch=1)
    (event,) = of_kind(run, EpochEnded)
    assert list(event.metrics.values()) == [1, 2, 3, 4, 5, 6]
    assert list(event.metrics)[:4] == ["<Key>", "", "a\nb\\x00'\"", "4"]
    assert max(map(len, event.metrics)) == 500


def test_a_secret_in_the_name_of_a_metric_is_masked(monkeypatch):
    monkeypatch.setenv("DB_PASSWORD", "correct horse")
    run = start_run()
    for _ in range(2):
        run.log_metrics({"correct horse/ap": 1, "loss": 2, "correct horse": None}, epoch=1)
    assert [event.metrics for event in of_kind(run, EpochEnded)] == [{"****/ap": 1, "loss": 2}] * 2
    assert [list(event.reasons) for event in of_kind(run, MetricsSkipped)] == [["****"]]


def test_what_is_skipped_is_named_once_and_not_without_end(caplog):
    run = start_run()
    for start in range(0, 30_000, 10_000):
        run.log_metrics({f"name {number}": None for number in range(start, start + 10_000)}, iteration=1)
    assert sum(len(event.reasons) for event in of_kind(run, MetricsSkipped)) == 20_000
    assert all(len(record.getMessage()) < 10_000 for record in caplog.records)
    assert "; and 9990 more" in caplog.text


def test_more_metrics_than_anybody_has_are_cut_and_it_is_said():
    run = start_run()
    run.log_metrics({f"name {number}": number for number in range(60_000)}, epoch=1)
    (event,), (skipped,) = of_kind(run, EpochEnded), of_kind(run, MetricsSkipped)
    assert len(event.metrics) == 50_000
    assert skipped.reasons == {"…": "more than 50000 values at once: the others are left out"}


def test_an_event_too_large_for_a_line_is_cut_and_it_is_said():
    run = start_run()
    run.log_validation({"map": 0.5}, epoch=1, per_class={f"{n:0500}": {"ap": 0.5, "ar": 1} for n in range(10_000)})
    (event,) = of_kind(run, Validated)
    assert event.metrics == {"map": 0.5}
    assert 1000 < len(event.per_class) < 10_000
    note = events(run)[-2]
    assert note.message.startswith("a validated of 5")
    assert note.level == "WARNING"
    assert_readable(run)


def test_a_mapping_that_another_thread_changes_is_told():
    run = start_run()
    shared: dict[str, float] = {f"name {number}": number for number in range(200)}
    stop = threading.Event()

    def change() -> None:
        for number in itertools.count():
            shared[f"new {number % 500}"] = number
            shared.pop(f"new {(number + 250) % 500}", None)
            if stop.is_set():
                return

    writer, interval = threading.Thread(target=change), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # the threads take turns in the middle of everything
    writer.start()
    try:
        for epoch in range(1, 301):
            run.log_metrics(shared, epoch=epoch)
            run.log("with data", data=shared)
    finally:
        stop.set()
        sys.setswitchinterval(interval)
        writer.join()
    told = of_kind(run, EpochEnded)
    assert len(told) == 300
    assert all(event.metrics["name 7"] == 7 for event in told)
    assert all("name 7" in event.data["data"] for event in of_kind(run, Logged))


ANYTHING = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(st.characters(), max_size=20),
        st.binary(max_size=20),
        st.decimals(),
        st.floats(width=16).map(np.float16),
        st.sampled_from([Raises, Recurses, AnswersWrongly, ManyWords]).flatmap(st.builds),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(st.text(st.characters(), max_size=5), st.integers(), st.none()), inner, max_size=4),
        st.tuples(inner),
    ),
    max_leaves=8,
)


@pytest.mark.timeout(120)
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=ANYTHING)
def test_no_value_costs_an_event_or_makes_a_line_that_can_not_be_read(value, file):
    run = start_run()
    tell_all(run, file, value)
    run.complete({"loss": 0.5, "it": value})
    for kind, count in COUNTS.items():
        assert len(of_kind(run, kind)) == count + (kind is RunStarted), kind
    last = events(run)[-1]
    assert isinstance(last, RunCompleted)
    assert last.metrics["loss"] == 0.5
    if issubclass(type(value), float):  # isinstance would ask the value for its class, which may raise
        assert of_kind(run, EpochEnded)[0].metrics["it"] == (value if math.isfinite(value) else last.metrics["it"])
    assert_readable(run)


@pytest.mark.parametrize("batch", [True, False], ids=["batches", "predecessor B"])
def test_what_was_told_is_delivered_and_holds_up_nothing_that_follows(batch, monkeypatch):
    monkeypatch.setenv("TRAINER_HOOKS_DELIVERY", "process")
    with PlatformServer(jobs=("7",), batch=batch) as server:
        with start_run(job_id="7", callback_url=server.url, flush_timeout=40) as run:
            for make in HOSTILE.values():
                value = make()
                run.log_metrics({"loss": 0.5, "it": value}, epoch=1)
                run.log_validation({"map": 0.5, "it": value}, epoch=1, per_class={"cat": value})
                run.log("plain", source=value, data=value)
                run.log(value)
            run.log_metrics({"loss": 0.25}, epoch=2)
            run.complete()
            assert run.flush(), [str(request) for request in server.requests[-3:]]
        ledger = read_ledger(run.directory)
        assert ledger.is_balanced
        assert (ledger.pending, ledger.rejected, ledger.damaged_lines) == (0, 0, 0)
        assert max(len(request.body) for request in server.requests) <= 4_000_000
        if batch:
            assert len(server.events) >= 4 * len(HOSTILE)
            told = [stored["event"] for stored in server.events.values()]
            assert [event["metrics"] for event in told if event.get("epoch") == 2][-1] == {"loss": 0.25}
        else:
            assert server.job("7").status == "completed"
            assert server.posts("/training/jobs/7/callback/progress")[-1]["current_epoch"] == 2

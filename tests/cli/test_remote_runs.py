"""`trainer-hooks runs ls` and `runs show`, of a receiver."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.cli.parts import TRAINING, invoke, write_run
from tests.receiver.serving import Receiver
from tests.servers.s3 import free_port
from trainer_hooks.events import CheckpointSaved, CheckpointStored, RunCompleted, RunFailed, RunStarted

FAILED = RunFailed(
    error="DatasetError", message="no images", exception="FileNotFoundError", traceback="Traceback …\n  here", epoch=1
)


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    """With a run that has completed, and a later one that has failed."""
    root = tmp_path_factory.mktemp("receiver") / "runs"
    place = {"uri": "s3://bucket/best.pt", "manifest_uri": "s3://bucket/best.json"}
    stored = CheckpointStored(name="best", sha256="0" * 64, size=3, epoch=2, **place)
    saved = CheckpointSaved(names=["best"], path="/out/best.pt", size=3, epoch=2)
    write_run(root, "whole", [*TRAINING, saved, stored, RunCompleted(epochs=2, duration=3.5)])
    write_run(root, "broken", [RunStarted(framework="ultralytics", model="yolo11n"), FAILED])
    with Receiver(root) as receiver:
        yield receiver


def test_ls_lists_its_runs_the_newest_first(receiver: Receiver) -> None:
    result = invoke("runs", "ls", "--url", receiver.url)
    assert result.exit_code == 0, result.output
    heading, first, second = result.stdout.splitlines()
    assert heading.split() == ["run", "status", "attempt", "done", "best", "began"]
    assert first.startswith("broken  failed")
    assert re.match(r"whole   completed  1 +2/2 epochs", second)


def test_ls_lists_those_that_stand_so(receiver: Receiver) -> None:
    result = invoke("runs", "ls", "--url", receiver.url, "--status", "failed", "--json")
    assert [run["run"] for run in json.loads(result.stdout)] == ["broken"]


def test_ls_lists_more_than_an_answer_holds(tmp_path: Path) -> None:
    for number in range(1001):
        write_run(tmp_path / "runs", f"run-{number}", [RunStarted()])
    with Receiver(tmp_path / "runs") as receiver:
        found = json.loads(invoke("runs", "ls", "--url", receiver.url, "--json").stdout)
    assert len(found) == len({run["run"] for run in found}) == 1001


def test_show_tells_the_newest_values_and_the_checkpoints(receiver: Receiver) -> None:
    output = invoke("runs", "show", "whole", "--url", receiver.url).stdout
    assert "attempt 1: completed, 2/2 epochs" in output
    assert "took 3.5 s" in output
    assert re.search(r"^best +epoch 2 +/out/best.pt +s3://bucket/best.pt$", output, re.MULTILINE)
    page = re.search(r"^page +(\S+)$", output, re.MULTILINE)
    assert page
    assert httpx.get(page[1], trust_env=False).status_code == 200


def test_show_without_a_name_shows_the_newest_and_why_it_failed(receiver: Receiver) -> None:
    output = invoke("runs", "show", "--url", receiver.url).stdout
    assert "framework ultralytics, model yolo11n" in output
    assert "[DatasetError] FileNotFoundError: no images\n  Traceback …\n    here\n" in output


def test_show_as_json_is_the_receivers_answer(receiver: Receiver) -> None:
    output = invoke("runs", "show", "whole", "--url", receiver.url, "--json").stdout
    assert json.loads(output)["attempts"] == receiver.run("whole")["attempts"]


def test_what_is_not_there_is_a_mistake_without_a_traceback(receiver: Receiver, tmp_path: Path) -> None:
    result = invoke("runs", "show", "none", "--url", receiver.url)
    assert result.exit_code == 2
    assert "none" in result.output
    assert invoke("runs", "ls", "--url", receiver.url, "--dir", str(tmp_path)).exit_code == 2


def test_an_empty_receiver_is_no_failure(tmp_path: Path) -> None:
    with Receiver(tmp_path / "runs") as receiver:
        assert "no runs at http" in invoke("runs", "ls", "--url", receiver.url).output
        assert invoke("runs", "show", "--url", receiver.url).exit_code == 2


@pytest.mark.parametrize("url", ["http://host:port", "http://a..b", "http://[::1", "ftp://a", "http://", "7"])
def test_what_is_no_address_is_a_mistake(url: str) -> None:
    result = invoke("runs", "ls", "--url", url)
    assert result.exit_code == 2
    assert f"--url {url!r} is no address of a receiver" in result.output


def test_a_receiver_that_cannot_be_reached() -> None:
    address = f"http://127.0.0.1:{free_port()}"
    result = invoke("runs", "ls", "--url", address)
    assert result.exit_code == 1
    assert f"{address} can't be reached" in result.output

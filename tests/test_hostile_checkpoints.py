"""Checkpoints of every kind, from the training to the store: whole under their keys, or refused with the reason."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers.s3 import BUCKET, free_port, moto_server
from tests.waiting import wait_until
from trainer_hooks import current_run, start_run
from trainer_hooks.delivery import load_rejected
from trainer_hooks.events import CheckpointSaved, CheckpointStored
from trainer_hooks.journal import read_records
from trainer_hooks.ledger import read_ledger
from trainer_hooks.run import Run

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.timeout(90)


@pytest.fixture(autouse=True)
def every_run_ends() -> Iterator[None]:
    yield
    while (run := current_run()) is not None:
        run.interrupt("the test is over")


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[dict[str, str], Callable[[], set[str]]]]:
    """Settings of a store, and what lies in it."""
    if request.param == "local":
        place = tmp_path / "store"
        place.mkdir()
        yield (
            {"storage": place.as_uri()},
            lambda: {str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()},
        )
        return
    with moto_server() as server:
        settings = {
            "storage": f"s3://{BUCKET}",
            "storage_endpoint": server.url,
            "storage_access_key": server.access_key,
            "storage_secret_key": server.secret_key,
        }
        client = server.client()
        yield (
            settings,
            lambda: {item["Key"] for item in client.list_objects_v2(Bucket=BUCKET).get("Contents", ())},
        )


def whole(path: Path) -> Path:
    """A complete checkpoint, as its container tells."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"content")
    return path


def told(run: Run, kind: type[Any]) -> list[Any]:
    return [record.event for record in read_records(run.directory) if isinstance(record.event, kind)]


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_sparse(path: Path) -> None:
    whole(path)
    os.truncate(path, 20 << 30)


def make_torn(path: Path) -> None:
    path.write_bytes(whole(path).read_bytes()[:-5])


REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "empty": (Path.touch, "the file is empty"),
    "torn": (make_torn, "the zip container is damaged"),
    "empty folder": (Path.mkdir, "no private copy of it was made: there is no file in "),
    "fifo": (make_fifo, "no private copy of it was made: it is no regular file"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "no private copy of it was made: it is no regular file"),
}


def test_what_is_no_whole_file_is_refused_with_the_reason_and_counted(store, tmp_path: Path) -> None:
    settings, objects = store
    before = objects()
    run = start_run(job_id="7", **settings)
    for name, (make, _) in REFUSED.items():
        make(tmp_path / f"{name}.pt")
        run.log_checkpoint(tmp_path / f"{name}.pt", names=name)
    run.log_checkpoint(whole(tmp_path / "whole.pt"), names="last")
    (tmp_path / "whole.pt").unlink()
    run.complete()
    assert run.flush(60)
    reasons = [one.reason for one in load_rejected(run.directory, "checkpoints")]
    assert len(reasons) == len(REFUSED)
    for (_, expected), reason in zip(REFUSED.values(), reasons, strict=True):
        assert reason.startswith(expected)
    assert objects() - before == {"checkpoints/7/last.pt", "checkpoints/7/last.pt.manifest.json"}
    ledger = read_ledger(run.directory)
    assert ledger.is_balanced
    assert (ledger.pending, ledger.rejected) == (0, len(REFUSED))
    assert list((run.directory / "staged").iterdir()) == []


NAMES = ["../../x", "/etc/passwd", "a/b", "a\0b", "x" * 300, "two\nlines", "\ud800", "..", "", " ", "최고", "a?b#c%2F"]


def test_no_name_leads_out_of_its_place_and_all_are_stored(store, tmp_path: Path) -> None:
    settings, objects = store
    odd = whole(tmp_path / f"w.{'s' * 200}")
    before, stored_before = {*tmp_path.iterdir()}, objects()
    run = start_run(job_id="../7", **settings)
    for name in NAMES:
        run.log_checkpoint(whole(tmp_path / "some.pt"), names=[name])
    run.log_checkpoint(odd, names="odd")
    run.complete()
    assert run.flush(60)
    found = objects() - stored_before  # moto keeps its objects for as long as the process lives
    assert len(found) == 2 * (len(NAMES) + 1)
    for key in found:
        folder, job, name = key.split("/")
        assert (folder, job) == ("checkpoints", "..%2F7")
        assert name.removesuffix(".manifest.json") not in {"", ".", ".."}
        assert len(name) < 256
    assert len(told(run, CheckpointStored)) == len(NAMES) + 1
    assert read_ledger(run.directory).rejected == 0
    assert {path for path in tmp_path.iterdir() if path.name not in {"some.pt", "trainer_runs", "store"}} <= before


def test_a_sparse_file_of_20_gigabytes_takes_neither_room_nor_the_trainings_time(tmp_path: Path) -> None:
    run = start_run(storage=(tmp_path / "store").as_uri(), delivery="none")
    make_sparse(tmp_path / "sparse.pt")
    run.log_checkpoint(tmp_path / "sparse.pt")
    (event,) = told(run, CheckpointSaved)
    copy = run.directory / event.staged
    assert copy.stat().st_size == event.size == 20 << 30
    assert copy.stat().st_blocks * 512 < 1 << 20


AS_NOBODY = """
import os, sys
import trainer_hooks
with trainer_hooks.start_run(run_id="r", delivery="none", storage="file:///nowhere") as run:
    run.log_checkpoint(sys.argv[1])
    os.chmod(run.directory / "staged", 0o777)
    os.seteuid(65534)
    run.log_checkpoint(sys.argv[2])
    os.seteuid(0)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="takes root to become somebody else")
def test_a_file_that_may_not_be_read_is_told_with_the_reason() -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        place.chmod(0o777)
        whole(place / "closed.pt").chmod(0o000)
        command = [sys.executable, "-c", AS_NOBODY, str(whole(place / "open.pt")), str(place / "closed.pt")]
        environ = {**os.environ, "PYTHONPATH": str(ROOT), "TRAINER_HOOKS_DIR": str(place / "runs")}
        done = subprocess.run(command, cwd=place, env=environ, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert "closed.pt, which is not stored therefore: Permission denied" in done.stderr
        saved = [record.event for record in read_records(place / "runs" / "r")]
        opened, closed = (event for event in saved if isinstance(event, CheckpointSaved))
        assert (opened.staged is None, opened.uncopied) == (False, None)
        assert (closed.staged, closed.uncopied) == (None, "Permission denied")


def test_while_the_store_is_down_superseded_copies_do_not_pile_up(tmp_path: Path) -> None:
    """Of 200 epochs the newest `last` stays, and what is never given up: a best of each 50, and the final one."""
    settings = {"storage_endpoint": f"http://127.0.0.1:{free_port()}", "storage": f"s3://{BUCKET}"}
    run = start_run(retry_delay=0.05, storage_access_key="access", storage_secret_key="secret-key", **settings)
    path = whole(tmp_path / "last.pt")
    for epoch in range(1, 201):
        run.log_checkpoint(path, names=["last", "best"] if epoch % 50 == 0 else "last", epoch=epoch)
        run.log_metrics({"loss": 1 / epoch}, epoch=epoch)
    staged = run.directory / "staged"
    wait_until(lambda: len(list(staged.iterdir())) <= 5, timeout=60, what="the removal of superseded copies")
    kept = {run.directory / event.staged for event in told(run, CheckpointSaved) if event.epoch % 50 == 0}
    assert kept <= {*staged.iterdir()}

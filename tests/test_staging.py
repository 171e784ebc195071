"""Private copies of checkpoints: whole, unique, and never more of them than are wanted."""

from __future__ import annotations

import contextlib
import itertools
import os
import resource
import shutil
import signal
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainer_hooks.staging import IMAGES, Stager


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "weights" / "last.pt"
    path.parent.mkdir()
    path.write_bytes(os.urandom(100_000))
    return path


@pytest.fixture
def run(tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    return path


def staged(run):
    return sorted(path.name for path in (run / "staged").iterdir())


def test_a_copy_outlives_the_rewriting_and_the_deletion_of_its_source(run, source):
    content = source.read_bytes()
    relative, size = Stager(run, keep_all=True).stage(source, ["last", "best"])
    source.write_bytes(b"rewritten in place")
    source.unlink()
    assert (run / relative).read_bytes() == content
    assert size == len(content)
    assert (run / relative).suffix == ".pt"
    assert (run / relative).parent == run / "staged"


def test_copies_never_share_a_name_with_those_of_an_earlier_attempt_of_the_same_pid(run, source):
    first, _ = Stager(run, keep_all=True).stage(source, ["last"])
    content = source.read_bytes()
    source.write_bytes(b"the next attempt's")
    second, _ = Stager(run, keep_all=True).stage(source, ["last"])
    assert first != second
    assert (run / first).read_bytes() == content


@pytest.mark.parametrize("name", ["../../outside", "a/b", "..", "", "x" * 400, "최고의 모델", "a\udcffb", "a b+c"])
def test_a_name_of_any_kind_stays_inside_the_run(run, source, name):
    relative, size = Stager(run, keep_all=True).stage(source, [name, "last"])
    assert (run / relative).resolve().parent == (run / "staged").resolve()
    assert (run / relative).stat().st_size == size
    assert relative.encode()


@pytest.mark.parametrize("suffix", ["." + "x" * 200, ".\udcff", ".a b\n", ".", ""], ids=repr)
def test_a_suffix_of_any_kind_is_told_as_it_is_on_the_disk(run, source, suffix):
    odd = source.rename(source.with_name("w" + suffix))
    relative, size = Stager(run, keep_all=True).stage(odd, ["y" * 300])
    assert (run / relative.encode().decode()).stat().st_size == size
    assert len(staged(run)) == 1


def test_a_link_to_a_file_is_copied_as_the_file(run, source):
    link = source.with_name("latest.pt")
    link.symlink_to(source)
    relative, size = Stager(run, keep_all=True).stage(link, ["last"])
    assert not (run / relative).is_symlink()
    assert (run / relative).read_bytes() == source.read_bytes()
    assert size == source.stat().st_size


def test_a_folder_is_copied_as_one_file_and_outlives_its_deletion(run, source):
    content = source.read_bytes()
    relative, size = Stager(run, keep_all=True).stage(source.parent, ["last"])
    shutil.rmtree(source.parent)
    assert relative.endswith("-last.tar")
    assert (run / relative).stat().st_size == size
    with tarfile.open(run / relative, "r:") as archive:
        assert archive.extractfile("last.pt").read() == content


def test_a_folder_that_does_not_fit_leaves_no_partial_copy(run, source):
    with no_file_larger_than(50_000), pytest.raises(OSError, match="File too large"):
        Stager(run, keep_all=True).stage(source.parent, ["last"])
    assert staged(run) == []


def test_a_folder_of_images_is_none_of_its_images(run, source):
    with pytest.raises(IsADirectoryError):
        Stager(run, keep_all=True, folder=IMAGES).stage(source.parent, ["plot"])


def fifo(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize(
    "make",
    [
        Path.mkdir,
        fifo,
        lambda path: path.symlink_to("/dev/zero"),
        lambda path: path.symlink_to(path),
        lambda path: path.symlink_to("nowhere"),
    ],
    ids=["empty folder", "FIFO", "device", "link to itself", "dangling link"],
)
def test_what_is_no_file_is_refused_at_once_and_leaves_nothing(run, tmp_path, make):
    make(tmp_path / "odd.pt")
    with pytest.raises(OSError):
        Stager(run, keep_all=True).stage(tmp_path / "odd.pt", ["last"])
    assert staged(run) == []


def told(stager: Stager, source: Path, names: list[str]) -> str:
    copy, _ = stager.stage(source, names)
    stager.told(copy, names)
    return copy


def test_without_a_courier_only_the_newest_last_is_kept(run, source):
    stager = Stager(run, keep_all=False)
    for _ in range(4):
        told(stager, source, ["last"])
    assert len(staged(run)) == 1
    best = told(stager, source, ["last", "best"])
    epoch = told(stager, source, ["epoch_3"])
    newest = told(stager, source, ["last"])
    assert {f"staged/{name}" for name in staged(run)} == {best, epoch, newest}


def test_the_last_one_is_kept_until_the_newer_one_is_told(run, source):
    stager = Stager(run, keep_all=False)
    older = told(stager, source, ["last"])
    newer, _ = stager.stage(source, ["last"])
    assert {f"staged/{name}" for name in staged(run)} == {older, newer}
    stager.told(newer, ["last"])
    assert {f"staged/{name}" for name in staged(run)} == {newer}


def test_with_a_courier_all_are_kept(run, source):
    stager = Stager(run, keep_all=True)
    for _ in range(4):
        told(stager, source, ["last"])
    assert len(staged(run)) == 4


def test_a_source_that_is_gone_leaves_nothing(run, source):
    source.unlink()
    with pytest.raises(FileNotFoundError):
        Stager(run, keep_all=True).stage(source, ["last"])
    assert staged(run) == []


@contextlib.contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limit[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_leaves_no_partial_copy(run, source):
    with no_file_larger_than(50_000), pytest.raises(OSError, match="File too large"):
        Stager(run, keep_all=True).stage(source, ["last"])
    assert staged(run) == []


def rewrite(path: Path, stop: threading.Event) -> None:
    for letter in itertools.cycle(b"abcd"):
        with path.open("wb", buffering=0) as file:
            for _ in range(512):
                file.write(bytes([letter]) * 65_536)
                if stop.is_set():
                    return


def test_a_source_that_is_rewritten_meanwhile_is_refused_or_whole(run, source):
    """A writer changes the file's content over and over: no copy may mix two of them."""
    source.write_bytes(b"a" * 1000)
    stop = threading.Event()
    writer = threading.Thread(target=rewrite, args=(source, stop))
    writer.start()
    stager, refused = Stager(run, keep_all=True), 0
    try:
        while refused < 3:
            try:
                relative, size = stager.stage(source, ["last"])
            except OSError as error:
                assert "was rewritten" in str(error)  # noqa: PT017 - either outcome is right
                refused += 1
                continue
            copy = (run / relative).read_bytes()
            assert len(set(copy)) <= 1, "a torn copy"
            assert len(copy) == size
            (run / relative).unlink()
    finally:
        stop.set()
        writer.join()
    assert staged(run) == []


def test_of_copies_that_nobody_takes_away_the_newest_are_kept(run, source):
    stager = Stager(run, keep_all=True, most=2)
    told = [stager.stage(source, ["plot"])[0] for _ in range(3)]
    for one in told:
        stager.told(one, ["plot"])
    assert staged(run) == [Path(one).name for one in told[1:]]

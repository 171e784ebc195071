"""Whole files or none, and copies that are the same bytes by whichever way the file system takes."""

from __future__ import annotations

import errno
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.disks import LimitedDisk, small_disk
from tests.hosts.scripts import ROOT
from tests.waiting import wait_until
from trainer_hooks.files import copy_file, locked, remove_leftovers, replacing, sync_file, write_whole


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_a_reader_sees_the_old_or_the_new_content_whole(tmp_path):
    path = tmp_path / "state.json"
    contents = [bytes([letter]) * 100_000 for letter in b"abc"]
    write_whole(path, contents[0])
    seen, stop = set(), threading.Event()

    def read() -> None:
        while not stop.is_set():
            seen.add(path.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(300):
        write_whole(path, contents[turn % 3])
    wait_until(lambda: len(seen) > 1)
    stop.set()
    reader.join()
    assert seen <= set(contents)
    assert names_in(tmp_path) == ["state.json"]


def begin_and_fail(path: Path, error: BaseException) -> None:
    with replacing(path) as temporary:
        temporary.write_text("half of the ne")
        raise error


def test_an_error_leaves_the_old_content_and_nothing_else(tmp_path):
    path = tmp_path / "state.json"
    path.write_text("old")
    for error in (ValueError("no"), KeyboardInterrupt()):
        with pytest.raises(type(error)) as caught:
            begin_and_fail(path, error)
        assert caught.value is error
    assert path.read_text() == "old"
    assert names_in(tmp_path) == ["state.json"]


def test_what_a_killed_process_has_left_is_removed_and_nothing_else(tmp_path):
    code = """
import os, signal, sys
from pathlib import Path
from trainer_hooks.files import replacing
with replacing(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    write_whole(tmp_path / "state.json", b"old")
    (tmp_path / ".hidden.1").touch()
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "state.json")], cwd=ROOT, check=False)
    assert len(names_in(tmp_path)) == 3
    remove_leftovers(tmp_path)
    assert sorted(names_in(tmp_path)) == [".hidden.1", "state.json"]
    assert (tmp_path / "state.json").read_bytes() == b"old"
    remove_leftovers(tmp_path / "which is not there")


def test_what_is_written_may_be_read_by_whom_the_umask_allows(tmp_path):
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "state.json", b"{}")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "state.json").stat().st_mode) == 0o640


def test_a_file_of_the_longest_name_can_be_replaced(tmp_path):
    for name in ("x" * 255, "이" * 85):
        write_whole(tmp_path / name, b"content")
        assert (tmp_path / name).read_bytes() == b"content"


def test_replacing_in_a_directory_that_is_not_there_raises(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "gone" / "state.json", b"{}")


@pytest.mark.parametrize("size", [0, 1, 4096, 3_000_001])
def test_a_copy_is_the_same_bytes(tmp_path, size):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(size))
    target.write_bytes(b"an older and longer content" * size)
    assert copy_file(source, target) == size
    assert target.read_bytes() == source.read_bytes()


def test_a_file_that_says_it_is_empty_and_is_not_is_copied_by_reading(tmp_path):
    source = Path("/proc/self/status")
    assert source.stat().st_size == 0
    assert copy_file(source, tmp_path / "target") > 0
    assert "Name:" in (tmp_path / "target").read_text()


def test_a_copy_to_another_file_system_is_the_same_bytes(tmp_path):
    source = tmp_path / "source"
    source.write_bytes(os.urandom(200_000))
    target = Path("/dev/shm") / f"trainer_hooks_test_{os.getpid()}"  # noqa: S108 - another file system is the point
    try:
        assert copy_file(source, target) == 200_000
        assert target.read_bytes() == source.read_bytes()
    finally:
        target.unlink()


def test_a_source_that_is_gone_raises_and_touches_no_target(tmp_path):
    with pytest.raises(FileNotFoundError):
        copy_file(tmp_path / "gone", tmp_path / "target")
    assert names_in(tmp_path) == []


def test_a_disk_that_refuses_raises_its_own_error(tmp_path):
    source = tmp_path / "source"
    source.write_bytes(bytes(100_000))
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limit[1]))
    try:
        with pytest.raises(OSError) as caught:
            copy_file(source, tmp_path / "target")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)
    assert caught.value.errno == errno.EFBIG


def test_a_fifo_a_device_and_a_directory_are_refused_without_waiting_for_them(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("/dev/zero")
    for source, error in ((tmp_path / "fifo", OSError), (tmp_path / "link", OSError), (tmp_path, IsADirectoryError)):
        with pytest.raises(error) as caught:
            copy_file(source, tmp_path / "target")
        assert caught.value.errno in {errno.EINVAL, errno.EISDIR}
    assert sorted(names_in(tmp_path)) == ["fifo", "link"]


@pytest.mark.parametrize("folder", [None, "/dev/shm"], ids=["same disk", "other disk"])  # noqa: S108 - as above
def test_holes_of_a_file_of_20_gigabytes_take_neither_room_nor_time(tmp_path, folder):
    size, places = 20 << 30, (5, 7_000_000_000, 15 << 30)
    source = tmp_path / "sparse"
    with source.open("wb") as file:
        for place in places:
            file.seek(place)
            file.write(b"content")
        file.truncate(size)
    target = Path(folder or tmp_path) / f"trainer_hooks_test_{os.getpid()}"
    try:
        assert copy_file(source, target) == target.stat().st_size == size
        assert target.stat().st_blocks * 512 < 1 << 20
        with target.open("rb") as file:
            for place in places:
                file.seek(place - 1)
                assert file.read(9) == b"\0content\0"
    finally:
        target.unlink()


def test_a_file_that_is_only_a_hole_is_copied_as_one(tmp_path):
    (tmp_path / "source").touch()
    os.truncate(tmp_path / "source", 1 << 30)
    assert copy_file(tmp_path / "source", tmp_path / "target") == 1 << 30
    assert (tmp_path / "target").stat().st_blocks == 0


def test_a_copy_that_can_not_fit_is_refused_before_a_byte_is_written(tmp_path):
    source = tmp_path / "source"
    source.write_bytes(os.urandom(40 << 20))
    with small_disk(tmp_path / "disk") as disk:
        if type(disk) is LimitedDisk:
            pytest.skip("needs a disk of its own")
        with pytest.raises(OSError, match="No space left on device"):
            copy_file(source, disk.path / "target")
        assert (disk.path / "target").stat().st_size == 0


def test_files_and_directories_can_be_synced(tmp_path):
    (tmp_path / "file").write_text("x")
    sync_file(tmp_path / "file")
    sync_file(tmp_path)
    with pytest.raises(FileNotFoundError):
        sync_file(tmp_path / "gone")


HOLDER = """
import sys
from pathlib import Path
from trainer_hooks.files import locked
with locked(Path(sys.argv[1]), 5):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_keeps_another_process_out_until_its_holder_is_gone(tmp_path):
    path = tmp_path / "lock"
    command = [sys.executable, "-c", HOLDER, path]
    cwd = Path(__file__).parent.parent
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=cwd) as holder:
        assert holder.stdout.readline() == b"held\n"
        entered = threading.Event()

        def enter() -> None:
            with locked(path, 60):
                entered.set()

        waiting = threading.Thread(target=enter)
        waiting.start()
        with pytest.raises(TimeoutError, match=r"another process holds .*/lock"), locked(path, 0.2):
            pass
        assert not entered.is_set()
        holder.kill()
        assert entered.wait(30)
        waiting.join()

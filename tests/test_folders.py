"""Folders as one file: all of it or nothing, and the same again when it is unpacked."""

from __future__ import annotations

import errno
import io
import os
import tarfile
import threading
from pathlib import Path

import pytest

from trainer_hooks.checkpoint_files import DamagedCheckpoint, examine
from trainer_hooks.folders import is_packed, last_modified, pack, size_of, unpack


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoint-8"
    (path / "shards" / "empty").mkdir(parents=True)
    (path / "model.bin").write_bytes(os.urandom(100_001))
    (path / "trainer_state.json").write_text("{}")
    (path / "shards" / ("deep" * 50)).write_bytes(b"")
    (path / "shards" / "\udcff 최고").write_bytes(b"odd")
    return path


def content(folder: Path) -> dict[str, bytes | None]:
    found = sorted(folder.rglob("*"))
    return {str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes() for path in found}


def test_a_folder_is_the_same_when_it_is_unpacked(folder: Path, tmp_path: Path) -> None:
    size = pack(folder, tmp_path / "packed")
    assert size == (tmp_path / "packed").stat().st_size == size_of(folder)
    assert examine(tmp_path / "packed", ".tar").size == size
    unpack(tmp_path / "packed", tmp_path / "again")
    assert content(tmp_path / "again") == content(folder)
    assert {path.name for path in tmp_path.iterdir()} == {"again", "checkpoint-8", "packed"}


def test_any_tar_can_read_it(folder: Path, tmp_path: Path) -> None:
    pack(folder, tmp_path / "packed")
    assert is_packed(tmp_path / "packed")
    with tarfile.open(tmp_path / "packed", "r:") as archive:
        assert set(archive.getnames()) == set(content(folder))
        assert {member.uid for member in archive} == {0}


def test_when_it_was_written_last_is_that_of_its_newest_file(folder: Path) -> None:
    os.utime(folder / "model.bin", (2e9, 2e9))
    assert last_modified(folder) == 2e9
    assert last_modified(folder / "model.bin") == 2e9


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.symlink_to("/etc/passwd"),
        lambda path: path.symlink_to("model.bin"),
        lambda path: path.symlink_to("/"),
        os.mkfifo,
    ],
    ids=["a link out of it", "a link within it", "a link to a folder", "a FIFO"],
)
def test_a_folder_with_something_that_is_no_file_is_refused(folder: Path, tmp_path: Path, make: object) -> None:
    make(folder / "shards" / "odd")
    with pytest.raises(OSError, match="'shards/odd' in it is neither a file nor a folder"):
        pack(folder, tmp_path / "packed")
    assert not (tmp_path / "packed").exists()


def test_a_folder_without_a_file_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "nothing" / "in it").mkdir(parents=True)
    with pytest.raises(OSError, match="there is no file"):
        pack(tmp_path / "nothing", tmp_path / "packed")


def test_what_does_not_fit_is_refused_before_a_byte_is_written(folder: Path, tmp_path: Path) -> None:
    with (folder / "model.bin").open("ab") as file:
        file.truncate(1 << 42)
    with pytest.raises(OSError, match="No space left") as refused:
        pack(folder, tmp_path / "packed")
    assert refused.value.errno == errno.ENOSPC
    assert (tmp_path / "packed").stat().st_size == 0


def rewriting(path: Path, stop: threading.Event) -> None:
    """Two files that always belong together."""
    for number in range(1 << 30):
        for name in ("a", "b"):
            (path / name).write_bytes(bytes([number % 250]) * (200_000 + number % 250))
        if stop.is_set():
            return


def test_files_that_are_rewritten_meanwhile_are_refused_or_whole(tmp_path: Path) -> None:
    folder, stop, refused = tmp_path / "folder", threading.Event(), 0
    folder.mkdir()
    (folder / "a").write_bytes(b"0")
    writer = threading.Thread(target=rewriting, args=(folder, stop))
    writer.start()
    try:
        for _ in range(2000):
            (tmp_path / "packed").unlink(missing_ok=True)
            try:
                pack(folder, tmp_path / "packed")
            except OSError as error:
                assert "was rewritten" in str(error)  # noqa: PT017 - either outcome is right
                refused += 1
                if refused > 3:
                    break
                continue
            with tarfile.open(tmp_path / "packed", "r:") as archive:
                for member in archive:
                    assert len(set(archive.extractfile(member).read())) <= 1, "a torn file"
    finally:
        stop.set()
        writer.join()
    assert refused > 3


def test_a_file_that_comes_or_goes_meanwhile_is_noticed(folder: Path, tmp_path: Path) -> None:
    """In the midst of the packing: when the header of the biggest file has just been written."""

    class Target:
        """A path whose file, as it grows, has another one come to the folder."""

        def open(self, mode: str) -> io.BufferedIOBase:
            (folder / "late.bin").write_bytes(b"rank 1's")
            return (tmp_path / "packed").open(mode)

    with pytest.raises(OSError, match="was rewritten while it was copied"):
        pack(folder, Target())


def archive_of(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w") as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(b"x" * member.size))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.linkname, found.size = kind, link, 5 if kind == tarfile.REGTYPE else 0
    return found


@pytest.mark.parametrize(
    "hostile",
    [
        member("../outside"),
        member("inner/../../outside"),
        member("link", tarfile.SYMTYPE, "/etc"),
        member("link", tarfile.SYMTYPE, "harmless"),
        member("link", tarfile.LNKTYPE, "harmless"),
        member("device", tarfile.CHRTYPE),
        member("fifo", tarfile.FIFOTYPE),
    ],
    ids=lambda hostile: f"{hostile.name} {hostile.type}",
)
def test_an_archive_that_is_not_ours_puts_nothing_anywhere(tmp_path: Path, hostile: tarfile.TarInfo) -> None:
    archive = archive_of(tmp_path / "packed", member("harmless"), hostile)
    (tmp_path / "run").mkdir()
    with pytest.raises(DamagedCheckpoint):
        unpack(archive, tmp_path / "run" / "again")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["packed", "run"]


def test_an_absolute_name_stays_inside(tmp_path: Path) -> None:
    archive = archive_of(tmp_path / "packed", member(str(tmp_path / "outside")))
    unpack(archive, tmp_path / "again")
    assert not (tmp_path / "outside").exists()


def test_what_is_there_already_stays(folder: Path, tmp_path: Path) -> None:
    pack(folder, tmp_path / "packed")
    unpack(tmp_path / "packed", tmp_path / "again")
    (tmp_path / "again" / "model.bin").write_bytes(b"being read by another rank")
    unpack(tmp_path / "packed", tmp_path / "again")
    assert (tmp_path / "again" / "model.bin").read_bytes() == b"being read by another rank"


def test_one_that_breaks_off_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    pack(folder, tmp_path / "packed")
    os.truncate(tmp_path / "packed", 50_000)
    with pytest.raises(DamagedCheckpoint):
        unpack(tmp_path / "packed", tmp_path / "again")
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint-8", "packed"}

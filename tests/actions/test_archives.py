"""Packing is whole and the same each time; what comes out of an archive stays in its folder, or doesn't come out."""

from __future__ import annotations

import hashlib
import os
import random
import stat
import subprocess
import sys
import tempfile
import threading
import zipfile
from pathlib import Path

import pytest

from tests.disks import small_disk
from tests.waiting import wait_until
from trainer_hooks.actions.archives import pack, unpack
from trainer_hooks.errors import BackendError


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    for name in ("weights/best.pt", "build/x.so", "dist/y", "train.log", "config.json"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return folder


def test_a_file_is_taken_as_it_is(tmp_path):
    file = tmp_path / "best.pt"
    file.write_bytes(b"weights")
    with pack(file) as packed:
        assert (packed.file, packed.name, packed.size) == (file, "best.pt", 7)
        assert packed.sha256 == hashlib.sha256(b"weights").hexdigest()
        assert packed.md5 == hashlib.md5(b"weights", usedforsecurity=False).hexdigest()


def test_of_a_directory_everything_is_packed_and_comes_out_again(model, tmp_path):
    (model / "tool").write_text("#!/bin/sh")
    (model / "tool").chmod(0o755)
    with pack(model) as packed:
        assert packed.name == "model.zip"
        unpack(packed.file, tmp_path / "out")
    assert not packed.file.exists()
    files = {str(path.relative_to(model)): path.read_text() for path in model.rglob("*") if path.is_file()}
    out = tmp_path / "out"
    assert {str(path.relative_to(out)): path.read_text() for path in out.rglob("*") if path.is_file()} == files
    assert os.access(out / "tool", os.X_OK)


def test_the_same_files_make_the_same_archive(model):
    with pack(model) as packed:
        first = packed.sha256
    for path in model.rglob("*"):
        os.utime(path, (1, 1))
    with pack(model) as packed:
        assert packed.sha256 == first


def test_a_link_within_the_model_is_packed_as_what_it_leads_to(model, tmp_path):
    (model / "last.pt").symlink_to("weights/best.pt")
    with pack(model) as packed:
        unpack(packed.file, tmp_path / "out")
    assert (tmp_path / "out/last.pt").read_text() == "weights/best.pt"
    assert not (tmp_path / "out/last.pt").is_symlink()


def test_a_link_that_leads_out_of_the_model_is_refused(model, tmp_path):
    (tmp_path / "secret").write_text("no")
    (model / "last.pt").symlink_to("../secret")
    with pytest.raises(BackendError, match=r"last\.pt leads out of the model"), pack(model):
        pass


def test_a_file_that_changes_while_its_directory_is_packed_is_named(model, monkeypatch, tmp_path):
    last, temporary = model / "weights/best.pt", tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    with (model / "a-large-one").open("wb") as large:
        large.truncate(400 << 20)
    writing = threading.Event()

    def write_on():
        wait_until(lambda: any(path.stat().st_size > 1 << 20 for path in temporary.rglob("model.zip")))
        last.write_text("weights/best.pT")
        writing.set()

    thread = threading.Thread(target=write_on)
    thread.start()
    with pytest.raises(BackendError, match=r"best\.pt changed while .* was packed"), pack(model):
        pass
    thread.join()
    assert writing.is_set()
    assert list(temporary.iterdir()) == []


_PACK = """
import sys
from pathlib import Path
from trainer_hooks.actions.archives import pack
with pack(Path(sys.argv[1])):
    print("packed", flush=True)
    sys.stdin.read()
"""


def test_what_a_process_leaves_that_was_killed_while_it_packed_goes_with_the_next(model, monkeypatch, tmp_path):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    command = [sys.executable, "-c", _PACK, str(model)]
    environ = {**os.environ, "TMPDIR": str(temporary)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with (
        subprocess.Popen(command, env=environ, **pipes) as killed,
        subprocess.Popen(command, env=environ, **pipes) as held,
    ):
        for process in (killed, held):
            assert process.stdout.readline() == b"packed\n"
        killed.kill()
        killed.wait()
        for left in temporary.iterdir():
            os.utime(left, (1, 1))
        assert len(list(temporary.iterdir())) == 2
        with pack(model):
            assert len(list(temporary.iterdir())) == 2
        assert len(list(temporary.iterdir())) == 1
        held.communicate()
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch])
def test_what_is_empty_is_no_model(tmp_path, make):
    make(tmp_path / "empty")
    with pytest.raises(BackendError, match="that is no model"), pack(tmp_path / "empty"):
        pass


def archive(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as opened:
        for name, content in members:
            opened.writestr(name, content)
    return path


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize("name", ["../out", "a/../../out", "/etc/out", "a\\..\\out", "C:/out", link("link")])
def test_an_archive_that_leads_out_of_its_folder_is_refused(tmp_path, name):
    evil = archive(tmp_path / "evil.zip", ("good", b"1"), (name, b"/etc/passwd"))
    with pytest.raises(BackendError, match="outside of it or a link"):
        unpack(evil, tmp_path / "into/model")
    assert list((tmp_path / "into").iterdir()) == []


def test_a_place_named_twice_is_refused(tmp_path):
    twice = archive(tmp_path / "twice.zip", ("a/b", b"1"), ("A/b", b"2"))
    with pytest.raises(BackendError, match="a place twice"):
        unpack(twice, tmp_path / "into/model")


@pytest.mark.parametrize("names", [("a", "a/b"), ("a/b", "A"), ("a/b", "a//b"), ("./a", "a")])
def test_a_place_below_a_file_or_written_in_two_ways_is_refused(tmp_path, names):
    odd = archive(tmp_path / "odd.zip", *((name, b"1") for name in names))
    with pytest.raises(BackendError, match=r"below what is a file|a place twice"):
        unpack(odd, tmp_path / "into/model")


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("at", range(34, 100, 6))
def test_damage_in_what_is_compressed_is_told_as_damage(tmp_path, method, at):
    good = tmp_path / "good.zip"
    with zipfile.ZipFile(good, "w", method) as opened:
        opened.writestr("abcd", random.Random(1).randbytes(300) * 3)
    damaged = bytearray(good.read_bytes())
    damaged[at : at + 6] = bytes(255 - byte for byte in damaged[at : at + 6])
    good.write_bytes(damaged)
    with pytest.raises(BackendError, match="it is damaged, or no zip"):
        unpack(good, tmp_path / "into/model")


def test_a_bomb_is_refused_before_a_byte_is_written(tmp_path):
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("zeros", bytes(64 << 20))
    with small_disk(tmp_path / "disk") as disk:
        if os.statvfs(disk.path).f_blocks == os.statvfs(tmp_path).f_blocks:
            pytest.skip("no small disk can be mounted here")
        with pytest.raises(BackendError, match=r"has .* left"):
            unpack(bomb, disk.path / "model")
        assert list(disk.path.iterdir()) == []


def test_an_archive_that_says_less_than_it_holds_is_refused(tmp_path):
    lying = tmp_path / "lying.zip"
    with zipfile.ZipFile(lying, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("zeros", bytes(1 << 20))
        opened.infolist()[0].file_size = 10
    with pytest.raises(BackendError):
        unpack(lying, tmp_path / "into/model")
    assert list((tmp_path / "into").iterdir()) == []


@pytest.mark.parametrize("at", [0.3, 0.6, 0.95])
def test_a_damaged_archive_leaves_nothing(model, tmp_path, at):
    with pack(model) as packed:
        damaged = bytearray(packed.file.read_bytes())
    damaged[int(len(damaged) * at)] ^= 0xFF
    (tmp_path / "damaged.zip").write_bytes(damaged[: int(len(damaged) * at)])
    with pytest.raises(BackendError, match="is damaged, or no zip"):
        unpack(tmp_path / "damaged.zip", tmp_path / "into/model")
    assert list((tmp_path / "into").iterdir()) == []


def test_a_wrong_checksum_within_is_found(tmp_path):
    good = archive(tmp_path / "good.zip", ("a", b"weights"))
    good.write_bytes(good.read_bytes().replace(b"weights", b"weighTs"))
    with pytest.raises(BackendError, match="Bad CRC-32"):
        unpack(good, tmp_path / "into/model")
    assert list((tmp_path / "into").iterdir()) == []


_UNPACK = """
import sys
from pathlib import Path
from trainer_hooks.actions.archives import unpack
unpack(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_a_process_killed_while_it_extracts_leaves_no_model(tmp_path):
    big = tmp_path / "big.zip"
    with zipfile.ZipFile(big, "w", zipfile.ZIP_DEFLATED) as opened:
        for number in range(150):
            opened.writestr(f"{number}", bytes(1 << 20))
    process = subprocess.Popen([sys.executable, "-c", _UNPACK, str(big), str(tmp_path / "into/model")])
    wait_until(lambda: list((tmp_path / "into").glob(".new-*/1")))
    process.kill()
    process.wait()
    assert not (tmp_path / "into/model").exists()
    for left in (tmp_path / "into").iterdir():
        os.utime(left, (1, 1))
    unpack(archive(tmp_path / "small.zip", ("a", b"1")), tmp_path / "into/model")
    assert [path.name for path in (tmp_path / "into").iterdir()] == ["model"]

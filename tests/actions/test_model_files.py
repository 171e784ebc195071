"""A model that an action begins with is fetched once, whole, and found again."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from trainer_hooks.actions.backends.local import LocalBackend
from trainer_hooks.actions.model_files import restored_model
from trainer_hooks.errors import BackendError


class Counting(LocalBackend):
    """Counts the fetches."""

    fetches = 0

    def fetch_model_file(self, model, folder):
        self.fetches += 1
        return super().fetch_model_file(model, folder)


@pytest.fixture
def backend(tmp_path: Path) -> Counting:
    return Counting(tmp_path / "backend")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model/weights").mkdir(parents=True)
    (tmp_path / "model/weights/best.pt").write_bytes(b"weights")
    return tmp_path / "model"


def test_a_file_is_fetched_once(backend, tmp_path):
    (tmp_path / "best.pt").write_bytes(b"weights")
    model = backend.create_model({}, file=tmp_path / "best.pt")
    paths = {restored_model(backend, model, tmp_path / "cache") for _ in range(3)}
    assert [path.read_bytes() for path in paths] == [b"weights"]
    assert backend.fetches == 1


def test_a_file_that_was_written_to_is_fetched_again(backend, tmp_path):
    (tmp_path / "best.pt").write_bytes(b"weights")
    model = backend.create_model({}, file=tmp_path / "best.pt")
    restored_model(backend, model, tmp_path / "cache").write_bytes(b"fine-tuned")
    assert restored_model(backend, model, tmp_path / "cache").read_bytes() == b"weights"
    assert backend.fetches == 2


def test_a_directory_comes_back_as_one(backend, folder, tmp_path):
    model = backend.create_model({}, file=folder)
    for _ in range(2):
        path = restored_model(backend, model, tmp_path / "cache")
        assert (path.name, (path / "weights/best.pt").read_bytes()) == ("model", b"weights")
    assert backend.fetches == 1


def written(path):
    (path / "weights/best.pt").write_bytes(b"weighTs")


def removed(path):
    (path / "weights/best.pt").unlink()


def added(path):
    (path / "more").touch()


@pytest.mark.parametrize("change", [written, removed, added])
def test_a_directory_that_was_written_to_is_fetched_again(backend, folder, tmp_path, change):
    model = backend.create_model({}, file=folder)
    change(restored_model(backend, model, tmp_path / "cache"))
    path = restored_model(backend, model, tmp_path / "cache")
    assert [str(file.relative_to(path)) for file in path.rglob("*")] == ["weights", "weights/best.pt"]
    assert (path / "weights/best.pt").read_bytes() == b"weights"
    assert backend.fetches == 2


def test_a_file_whose_checksum_nobody_told_is_checked_too(backend, tmp_path):
    (tmp_path / "best.pt").write_bytes(b"weights")
    model = backend.create_model({}, file=tmp_path / "best.pt")
    told = {"id": 1, "file": "https://store/1/best.pt?signature=1"}

    class Synapse(Counting):
        def fetch_model_file(self, _, folder):
            return super().fetch_model_file(model, folder)

    synapse = Synapse(tmp_path / "backend")
    restored_model(synapse, told, tmp_path / "cache").write_bytes(b"weighTs")
    for signature in "12":
        told["file"] = f"https://store/1/best.pt?signature={signature}"
        assert restored_model(synapse, told, tmp_path / "cache").read_bytes() == b"weights"
    assert synapse.fetches == 2


@pytest.mark.parametrize("damage", [b"", b"{}", b"{", b'{"\xff": "1"}'])
def test_what_can_no_longer_be_checked_is_fetched_again(backend, folder, tmp_path, damage):
    model = backend.create_model({}, file=folder)
    entry = restored_model(backend, model, tmp_path / "cache").parent.parent
    (entry / "sha256.json").write_bytes(damage)
    assert (restored_model(backend, model, tmp_path / "cache") / "weights/best.pt").is_file()
    assert backend.fetches == 2


def test_a_torch_file_is_a_zip_and_stays_a_file(backend, tmp_path):
    with zipfile.ZipFile(tmp_path / "best.pt", "w") as opened:
        opened.writestr("archive/data.pkl", b"1")
    model = backend.create_model({}, file=tmp_path / "best.pt")
    assert restored_model(backend, model, tmp_path / "cache").is_file()


def test_a_damaged_archive_leaves_nothing_that_is_taken_for_a_model(backend, tmp_path):
    (tmp_path / "model.zip").write_bytes(b"no zip at all")
    model = backend.create_model({}, file=tmp_path / "model.zip")
    for _ in range(2):
        with pytest.raises(BackendError, match=r"model\.zip can't be extracted"):
            restored_model(backend, model, tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache").iterdir() if not path.name.endswith(".lock")] == []


def test_other_content_under_the_same_id_is_another_model(backend, tmp_path):
    told = []
    for content in (b"one", b"two"):
        (tmp_path / "best.pt").write_bytes(content)
        model = {**backend.create_model({}, file=tmp_path / "best.pt")}
        told.append(restored_model(backend, model, tmp_path / "cache").read_bytes())
    assert told == [b"one", b"two"]


_RESTORE = """
import os, sys
from pathlib import Path
from tests.waiting import wait_until
from trainer_hooks.actions.backends.local import LocalBackend
from trainer_hooks.actions.model_files import restored_model

class Telling(LocalBackend):
    def fetch_model_file(self, model, folder):
        print("fetched", flush=True)
        wait_until(lambda: len(list(started.iterdir())) == 3)
        return super().fetch_model_file(model, folder)

started = Path(sys.argv[3])
backend = Telling(Path(sys.argv[1]))
(started / str(os.getpid())).touch()
print((restored_model(backend, backend.get_model(1), Path(sys.argv[2])) / "weights/best.pt").read_text())
"""


def test_processes_at_once_fetch_it_once(backend, folder, tmp_path):
    backend.create_model({}, file=folder)
    (tmp_path / "started").mkdir()
    command = [sys.executable, "-c", _RESTORE, *(str(tmp_path / name) for name in ("backend", "cache", "started"))]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    told = "".join(process.communicate(timeout=60)[0] for process in processes).split()
    assert sorted(told) == ["fetched", "weights", "weights", "weights"]

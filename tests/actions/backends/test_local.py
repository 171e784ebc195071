"""A directory as the backend: no server, nothing half there, several processes at once."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.disks import small_disk
from tests.waiting import wait_until
from trainer_hooks.actions.backends import open_backend
from trainer_hooks.actions.backends.local import LocalBackend
from trainer_hooks.errors import BackendError, NotInBackend
from trainer_hooks.settings import Settings


@pytest.fixture
def backend(tmp_path: Path) -> LocalBackend:
    return LocalBackend(tmp_path / "backend")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "best.pt"
    path.write_bytes(b"weights")
    return path


def test_the_settings_name_it(tmp_path):
    opened = open_backend(Settings.load(environ={}, backend=str(tmp_path / "there")))
    assert isinstance(opened, LocalBackend)


def test_a_folder_is_a_data_collection(backend, tmp_path):
    folder = tmp_path / "backend/data_collections/7"
    folder.mkdir(parents=True)
    assert backend.get_data_collection(7) == {"id": 7, "name": "7", "data_collection": 7, "path": str(folder)}
    (folder / "data.yaml").touch()
    assert backend.get_data_collection("7")["path"] == str(folder / "data.yaml")


def test_a_json_file_says_where_a_data_collection_is(backend, tmp_path):
    file = tmp_path / "backend/data_collections/8.json"
    file.parent.mkdir(parents=True)
    (tmp_path / "shapes").mkdir()
    file.write_text('{"name": "shapes", "path": "../../shapes", "classes": 3}')
    found = backend.get_data_collection(8)
    assert (found["id"], found["name"], found["data_collection"], found["classes"]) == (8, "shapes", 8, 3)
    assert Path(found["path"]).samefile(tmp_path / "shapes")
    file.write_text('{"path": "../nowhere"}')
    with pytest.raises(NotInBackend, match="where nothing is"):
        backend.get_data_collection(8)
    file.write_text("[]")
    with pytest.raises(BackendError, match=r"8\.json is no JSON object"):
        backend.get_data_collection(8)


def test_what_is_missing_is_told_with_the_place_to_put_it(backend, tmp_path):
    with pytest.raises(NotInBackend, match=f"put its folder at {tmp_path}/backend/data_collections/9"):
        backend.get_data_collection(9)
    with pytest.raises(NotInBackend, match="there is no model 9"):
        backend.get_model(9)
    with pytest.raises(NotInBackend, match="job 9"):
        backend.get_job(9)


@pytest.mark.parametrize("identity", ["..", ".", "", "../models", "/etc", "a/b", "a\\b", "a\0b", ".hidden"])
def test_an_id_is_no_way_out(backend, identity):
    for ask in (backend.get_data_collection, backend.get_model, backend.get_job, backend.update_job):
        with pytest.raises(NotInBackend, match="can't be an id"):
            ask(identity)


def test_a_model_is_kept_with_what_was_said_of_it(backend, weights, tmp_path):
    made = backend.create_model({"name": "first", "category": "base", "checkpoint": 4}, file=weights)
    assert backend.get_model(1) == backend.get_model("1") == made
    assert (made["id"], made["name"], made["category"], made["checkpoint"]) == (1, "first", "base", 4)
    assert (made["file"], made["size"]) == ("best.pt", 7)
    assert (tmp_path / "backend/models/1/files/best.pt").read_bytes() == b"weights"
    weights.write_bytes(b"later")
    assert backend.fetch_model_file(made, tmp_path).read_bytes() == b"weights"


def test_the_call_of_the_document_gives_the_model_a_name(backend, weights):
    names = {backend.create_model({"file": str(weights)})["name"] for _ in range(2)}
    assert len(names) == 2
    assert all(name.startswith("best-") and len(name) == len("best-") + 8 for name in names)


def test_a_directory_becomes_a_zip(backend, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model/a.log").write_text("kept")
    assert backend.create_model({}, file=tmp_path / "model")["file"] == "model.zip"


@pytest.mark.parametrize(("request_", "file"), [({}, None), ({"file": "a"}, "b")])
def test_a_model_needs_its_file_once(backend, request_, file):
    with pytest.raises(BackendError, match="a model needs its file, once"):
        backend.create_model(request_, file=file)


def test_a_file_that_is_not_there_is_an_error_and_leaves_nothing(backend, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.pt"):
        backend.create_model({}, file=tmp_path / "gone.pt")
    assert not (tmp_path / "backend/models").exists()


def test_what_json_cannot_hold_is_told_and_leaves_nothing(backend, weights, tmp_path):
    with pytest.raises(BackendError, match="what JSON can hold"):
        backend.create_model({"configuration": {"x": object()}}, file=weights)
    assert not (tmp_path / "backend").exists()


def test_a_file_that_was_changed_is_not_given_out(backend, weights, tmp_path):
    made = backend.create_model({}, file=weights)
    (tmp_path / "backend/models/1/files/best.pt").write_bytes(b"weighTs")
    (tmp_path / "out").mkdir()
    with pytest.raises(BackendError, match="its checksum is wrong"):
        backend.fetch_model_file(made, tmp_path / "out")
    (tmp_path / "backend/models/1/files/best.pt").unlink()
    with pytest.raises(NotInBackend, match="has lost its file"):
        backend.fetch_model_file(made, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("name", ["model.json", ".pt", "a\\b.pt", "b" * 230 + ".pt", "two\nlines.pt", "files"])
def test_whatever_a_file_is_called_it_comes_back(backend, tmp_path, name):
    (tmp_path / name).write_bytes(b"weights")
    made = backend.create_model({}, file=tmp_path / name)
    assert backend.get_model(1) == made
    (tmp_path / "out").mkdir()
    fetched = backend.fetch_model_file(made, tmp_path / "out")
    assert (fetched.name, fetched.read_bytes()) == (name, b"weights")


def test_a_file_whose_name_is_no_text_is_refused_by_name(backend, tmp_path):
    file = tmp_path / os.fsdecode(b"b\xff.pt")
    file.write_bytes(b"weights")
    with pytest.raises(BackendError, match=r"is no Unicode text.* rename it"):
        backend.create_model({}, file=file)


@pytest.mark.parametrize("name", ["../../2/files/best.pt", "..", "", "/etc/passwd"])
def test_a_file_that_a_model_names_is_no_way_out(backend, weights, tmp_path, name):
    made = backend.create_model({}, file=weights)
    with pytest.raises(NotInBackend, match="can't be a file's name"):
        backend.fetch_model_file({**made, "file": name}, tmp_path)


def test_a_number_that_json_has_not_is_refused_with_its_place(backend, weights):
    with pytest.raises(BackendError, match=r"configuration\.lr\[1\] is nan, which JSON can't hold"):
        backend.create_model({"configuration": {"lr": [0.1, math.nan]}}, file=weights)
    backend.update_job(3, status="RUNNING")
    with pytest.raises(BackendError, match=r"result\.loss is inf, which JSON can't hold"):
        backend.update_job(3, result={"loss": math.inf})
    assert backend.get_job(3) == {"id": 3, "status": "RUNNING"}


def test_a_text_that_is_no_unicode_is_refused(backend):
    with pytest.raises(BackendError, match="what JSON can hold"):
        backend.update_job(3, result={"log": "\ud800"})


def test_a_job_takes_the_fields_that_are_named(backend):
    backend.update_job("j-1", status="RUNNING", result=None)
    assert backend.update_job("j-1", result={"a": 1}) == {"id": "j-1", "status": "RUNNING", "result": {"a": 1}}
    assert backend.get_job("j-1")["status"] == "RUNNING"


_CREATE = """
import sys
from pathlib import Path
from trainer_hooks.actions.backends.local import LocalBackend
backend = LocalBackend(Path(sys.argv[1]))
for _ in range(int(sys.argv[3])):
    print(backend.create_model({"file": sys.argv[2]})["id"])
"""


def creating(root: Path, file: Path, times: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _CREATE, str(root), str(file), str(times)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_processes_at_once_get_a_number_each(weights, tmp_path):
    processes = [creating(tmp_path / "backend", weights, 25) for _ in range(2)]
    numbers = [int(line) for process in processes for line in process.communicate(timeout=60)[0].split()]
    assert sorted(numbers) == list(range(1, 51))
    models = tmp_path / "backend/models"
    assert {json.loads((models / str(one) / "model.json").read_text())["id"] for one in numbers} == set(numbers)


def test_threads_at_once_lose_no_field_of_a_job(backend):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: backend.update_job(3, **{f"field{number}": number}), range(40)))
    assert len(backend.get_job(3)) == 41


def test_a_process_killed_while_it_creates_a_model_leaves_none(tmp_path):
    file = tmp_path / "big.pt"
    with file.open("wb") as opened:
        opened.write(os.urandom(1 << 20))
        opened.truncate(1 << 30)
    process = creating(tmp_path / "backend", file, 1)
    models = tmp_path / "backend/models"
    wait_until(lambda: list(models.glob(".new-*/files/big.pt")))
    process.kill()
    process.communicate()
    assert not list(models.glob("[0-9]*"))
    file.write_bytes(b"small")
    for left in models.iterdir():
        os.utime(left, (1, 1))
    assert LocalBackend(tmp_path / "backend").create_model({}, file=file)["id"] == 1
    assert [path.name for path in models.iterdir()] == ["1"]


def test_a_large_file_takes_little_memory(tmp_path):
    file = tmp_path / "big.pt"
    with file.open("wb") as opened:
        opened.truncate(300 << 20)
    code = _CREATE + "\nfrom tests.memory import peak\nprint(peak())"
    command = [sys.executable, "-c", code, str(tmp_path / "backend"), str(file), "1"]
    number, peak = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.split()
    assert number == "1"
    assert int(peak) < 100_000  # kB


def test_a_full_disk_leaves_no_model(weights, tmp_path):
    with small_disk(tmp_path / "disk") as disk:
        backend = LocalBackend(disk.path / "backend")
        backend.create_model({}, file=weights)
        big = tmp_path / "big.pt"
        big.write_bytes(os.urandom(1 << 20))
        disk.fill()
        with pytest.raises(OSError, match=r"No space left|File too large"):
            backend.create_model({}, file=big)
        disk.free()
        assert [path.name for path in (disk.path / "backend/models").iterdir()] == ["1"]
        assert backend.create_model({}, file=big)["id"] == 2

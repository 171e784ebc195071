"""Many objects at once: whole, tried again where that helps, and no further than the first that can't be had."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.datasets.memory_storage import MemoryStorage
from tests.servers.s3 import BUCKET, moto_server
from tests.servers.tcp_proxy import tcp_proxy
from tests.waiting import wait_until
from trainer_hooks.datasets.caching.manifest import FileRecord
from trainer_hooks.datasets.fetching import crew
from trainer_hooks.datasets.fetching.crew import with_retries, work_through
from trainer_hooks.datasets.fetching.downloads import Download, Wanted, find_objects
from trainer_hooks.errors import DatasetError, ObjectMissing, StorageError, StorageRefused
from trainer_hooks.storage import StoredObject, open_storage


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(crew, "_FIRST_WAIT", 0.01)


def storage_of(count: int) -> MemoryStorage:
    return MemoryStorage({f"a/{number}": b"%d" % number * 50 for number in range(count)})


def wanted(storage: MemoryStorage, size: int | None = None) -> Iterator[Wanted]:
    for key, content in storage.objects.items():
        yield Wanted(storage, key, f"to/{key}", len(content) if size is None else size, 1.0)


def test_each_comes_whole_with_its_record(tmp_path: Path):
    storage, records, told = storage_of(300), [], []
    Download(tmp_path, records.append, lambda *done: told.append(done)).run(wanted(storage))

    assert {key: (tmp_path / "to" / key).read_bytes() for key in storage.objects} == storage.objects
    found = {record.path: (record.size, record.modified) for record in records}
    assert found == {f"to/{key}": (len(content), 1.0) for key, content in storage.objects.items()}
    assert told[-1] == (300, sum(map(len, storage.objects.values())))
    assert all(record.sha256 and record.mtime_ns for record in records)


def test_large_ones_go_by_the_storage_s_own_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    storage, records = storage_of(20), []
    Download(tmp_path / "at once", records.append).run(wanted(storage))
    monkeypatch.setattr("trainer_hooks.datasets.fetching.downloads._SMALL", 60)
    large = []
    Download(tmp_path / "else", large.append).run(wanted(storage))
    without_time = [{(one.path, one.size, one.modified, one.sha256) for one in some} for some in (records, large)]
    assert without_time[0] == without_time[1]
    modes = {path.stat().st_mode & 0o777 for path in tmp_path.rglob("*") if path.is_file()}
    assert modes == {0o444}


def test_what_an_attempt_before_has_left_is_replaced(tmp_path: Path):
    storage = storage_of(3)
    (tmp_path / "to/a").mkdir(parents=True)
    (tmp_path / "to/a/1").write_bytes(b"half")
    (tmp_path / "to/a/1").chmod(0o444)
    Download(tmp_path, lambda _: None).run(wanted(storage))
    assert (tmp_path / "to/a/1").read_bytes() == storage.objects["a/1"]


def test_trouble_that_passes_costs_only_time(tmp_path: Path):
    storage = storage_of(40)
    storage.failures = {"a/3": [StorageError("busy")] * 5, "a/9": [StorageError("cut")]}
    random.seed(7)
    before = random.getstate()
    Download(tmp_path, lambda _: None).run(wanted(storage))
    assert (storage.asked["a/3"], storage.asked["a/9"]) == (6, 2)
    assert random.getstate() == before  # the training's own


def test_trouble_that_stays_ends_it(tmp_path: Path):
    storage = storage_of(40)
    storage.failures = {"a/3": [StorageError(f"busy {number}") for number in range(100)]}
    with pytest.raises(StorageError, match="busy 5"):
        Download(tmp_path, lambda _: None).run(wanted(storage))
    assert storage.asked["a/3"] == 6


def test_a_refusal_ends_it_at_once(tmp_path: Path):
    storage = storage_of(5000)
    storage.failures = {"a/40": [StorageRefused("no")]}
    with pytest.raises(StorageRefused, match="no"):
        Download(tmp_path, lambda _: None).run(wanted(storage), threads=4)
    assert storage.asked["a/40"] == 1
    assert sum(storage.asked.values()) < 5000


def test_another_s_wait_ends_with_the_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(crew, "_FIRST_WAIT", 1000.0)
    monkeypatch.setattr(crew, "_LONGEST_WAIT", 1000.0)
    storage = storage_of(100)
    storage.failures = {"a/0": [StorageError("busy")] * 9, "a/90": [StorageRefused("no")]}
    with pytest.raises(StorageRefused):
        Download(tmp_path, lambda _: None).run(wanted(storage))


def test_an_object_that_changed_or_went_is_told(tmp_path: Path):
    storage = storage_of(3)
    with pytest.raises(DatasetError, match="changed while it was fetched"):
        Download(tmp_path, lambda _: None).run(wanted(storage, size=7))
    storage.failures = {"a/1": [ObjectMissing("gone")]}
    with pytest.raises(DatasetError, match="memory://a/1 was removed while the dataset was fetched"):
        Download(tmp_path, lambda _: None).run(wanted(storage))


def test_a_disk_s_error_ends_it(tmp_path: Path):
    storage = storage_of(3)
    (tmp_path / "to").write_bytes(b"in the way")
    with pytest.raises(OSError, match="to"):
        Download(tmp_path, lambda _: None).run(wanted(storage))


def test_no_more_is_taken_up_than_is_worked_on():
    taken, may_go_on, done = [], threading.Event(), []

    def items() -> Iterator[int]:
        for number in range(100_000):
            taken.append(number)
            yield number

    def work(item: int, _: threading.Event) -> None:
        may_go_on.wait(30)
        done.append(item)
        if item > 1000:
            raise StorageRefused("enough")

    def work_until_refused() -> None:
        with pytest.raises(StorageRefused):
            work_through(items(), work)

    thread = threading.Thread(target=work_until_refused)
    thread.start()
    wait_until(lambda: len(taken) >= crew.THREADS)
    assert len(taken) == crew.THREADS
    may_go_on.set()
    thread.join(30)
    assert len(taken) < 2000


def test_so_many_at_once(tmp_path: Path):
    storage = storage_of(200)
    barrier = threading.Barrier(8, timeout=10)
    storage.hold = barrier.wait
    Download(tmp_path, lambda _: None).run(wanted(storage), threads=8)
    assert storage.most_at_once == 8


def test_what_is_asked_in_vain_stays_in_vain():
    calls = []

    def call() -> None:
        calls.append(1)
        raise ObjectMissing("none")

    with pytest.raises(ObjectMissing):
        with_retries(call)
    assert len(calls) == 1


def test_objects_are_found_by_a_listing_and_among_very_many_one_by_one(monkeypatch: pytest.MonkeyPatch):
    storage = storage_of(100)
    found = find_objects(storage, ["a/7", "a/8", "a/none"])
    assert {key: stored.size for key, stored in found.items()} == {"a/7": 50, "a/8": 50}
    assert not any(key.startswith("stat") for key in storage.asked)

    monkeypatch.setattr("trainer_hooks.datasets.fetching.downloads._LISTED_AT_LEAST", 10)
    monkeypatch.setattr("trainer_hooks.datasets.fetching.downloads._LISTED_FOR_ONE", 2)
    storage.listed = 0
    assert find_objects(storage, ["a/7", "a/8", "a/none"]) == found
    assert storage.listed <= 11
    assert find_objects(storage, []) == {}


def test_a_connection_that_breaks_again_and_again_costs_no_file(tmp_path: Path):
    with moto_server() as server, tcp_proxy(server.url) as proxy:
        client = server.client()
        contents = {f"ds/{number}": random.Random(number).randbytes(30_000) for number in range(60)}
        for key, content in contents.items():
            client.put_object(Bucket=BUCKET, Key=key, Body=content)
        keys = {"access_key": server.access_key, "secret_key": server.secret_key}
        store = open_storage(f"s3://{BUCKET}", endpoint=proxy.url, **keys)
        proxy.refuse_after_cut = False
        proxy.cut_downstream_after = 400_000
        records: list[FileRecord] = []

        def keep(record: FileRecord) -> None:
            records.append(record)
            if len(records) == 40:
                proxy.cut()

        listed = [Wanted(store, key, key, len(content), 0.0) for key, content in contents.items()]
        Download(tmp_path, keep).run(listed, threads=8)

    assert {key: (tmp_path / key).read_bytes() for key in contents} == contents
    assert sorted(record.path for record in records) == sorted(contents)
    assert {path.name for path in (tmp_path / "ds").iterdir()} == {key.rpartition("/")[2] for key in contents}


def test_what_may_not_be_listed_is_asked_for_one_by_one():
    class Unlisted(MemoryStorage):
        def list(self, prefix: str = "") -> Iterator[StoredObject]:
            raise StorageRefused(prefix)

    found = find_objects(Unlisted({"a/1": b"1", "a/2": b"2"}), ["a/1", "a/3"])
    assert [*found] == ["a/1"]

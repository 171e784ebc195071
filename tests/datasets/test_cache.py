"""One entry, many processes: whole or not there, downloaded once, found when damaged, never taken from who uses it."""

from __future__ import annotations

import copy
import errno
import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.datasets import racing
from tests.datasets.stored import left_over, put_dataset, settings_for, tree, write
from tests.disks import LimitedDisk, small_disk
from tests.waiting import wait_until
from trainer_hooks import datasets
from trainer_hooks.datasets.caching.cache import Cache, key_of
from trainer_hooks.datasets.caching.inventory import cached, prune, verify
from trainer_hooks.datasets.caching.manifest import all_damage, record_of
from trainer_hooks.datasets.caching.workplace import Origin, Workplace, last_sign_of_life, this_host
from trainer_hooks.errors import DatasetError, InvalidSetting
from trainer_hooks.settings import Settings

ROOT = Path(__file__).parents[2]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_for(tmp_path)


@pytest.fixture
def version(store: Path) -> str:
    return put_dataset(store)


@pytest.fixture
def racers(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts processes that fetch ds_1; what is left of them at the end is killed."""
    started = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, racing.__file__, str(tmp_path), *arguments]
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(command, env=environ, **pipes))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def fetch(settings: Settings, version: str | None = None, dataset_id: str = "ds_1") -> datasets.Dataset:
    return datasets.fetch(dataset_id, version_hash=version, settings=settings)


def test_eight_processes_fetch_one_dataset_once(store: Path, settings: Settings, version: str, racers):
    processes = [racers("hold", version) for _ in range(8)]
    answers = [process.stdout.readline().split() for process in processes]
    assert sorted(what for what, _ in answers) == ["fetched", *["found"] * 7]
    assert len({path for _, path in answers}) == 1
    assert tree(Path(answers[0][1])) == tree(store / "datasets/ds_1")
    assert left_over(settings) == []
    assert not list(settings.cache_root.glob("locks/*"))


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 7))])
def test_a_kill_at_any_point_leaves_nothing_that_only_looks_whole(
    store: Path, settings: Settings, version: str, tmp_path: Path, seed: int
):
    put_dataset(store, count=150)
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    version = racing.version(tmp_path)
    command = [sys.executable, racing.__file__, str(tmp_path), "kill", version, str(seed), "10"]
    told = subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout.split()
    assert "killed" in told
    assert {*told} <= {"killed", "survived"}

    found = fetch(settings, version)

    assert tree(found.path) == tree(store / "datasets/ds_1")
    for entry in settings.cache_root.glob("entries/*"):
        assert list(all_damage(entry)) == []
    prune(settings, everything=True)
    assert left_over(settings) == []


def test_a_stopped_process_does_not_stop_the_others(settings: Settings, racers, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    stopped = racers("stop")
    assert stopped.stdout.readline() == "stopping\n"
    wait_until(lambda: Path(f"/proc/{stopped.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")

    cache = Cache(settings, stalled_after=0.4)
    found = cache.obtain(key_of(of="race"), racing.filler(4))

    assert "another process fetches this dataset: waiting for it (2 files so far)" in caplog.text
    assert "shows no life" in caplog.text
    os.kill(stopped.pid, signal.SIGCONT)
    what, path = stopped.stdout.readline().split()
    assert what == "fetched"
    assert tree(Path(path)) == tree(found.path)


def test_threads_of_one_process_share_a_download(settings: Settings, version: str):
    found: list[datasets.Dataset] = []
    threads = [threading.Thread(target=lambda: found.append(fetch(settings, version))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({one.path for one in found}) == 1
    assert len(found) == 6
    assert len(cached(settings)) == 1


def test_what_a_failed_one_leaves_the_next_one_uses_and_a_pruning_removes(settings: Settings):
    def fail(workplace: Workplace) -> Origin:
        racing.filler(3)(workplace)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Cache(settings).obtain(key_of(of="race"), fail)
    assert len(left_over(settings)) == 1
    prune(settings)
    assert left_over(settings) == []


def test_a_workplace_whose_process_was_killed_as_it_was_made_is_taken_over(settings: Settings):
    temporary = settings.cache_root / "temp"
    (temporary / f"{key_of(of='race')}.{this_host()}.0123456789abcdef").mkdir(parents=True)
    assert Cache(settings).obtain(key_of(of="race"), racing.filler(3)).files == 3
    assert left_over(settings) == []
    (temporary / f"{key_of(of='race')}.{this_host()}.0123456789abcdef").mkdir()
    prune(settings)
    assert left_over(settings) == []


def test_old_leftovers_go_with_the_next_download_even_if_the_clock_has_jumped(settings: Settings, version: str):
    for name, age in (("old", 2 * 86_400), ("future", -2 * 86_400), ("new", 60)):
        journal = settings.cache_root / f"temp/{name}.{this_host()}.0123456789abcdef/journal"
        write(journal, b"")
        for path in journal.parent.iterdir():
            os.utime(path, (time.time() - age, time.time() - age))
    write(settings.cache_root / "trash/1/file", b"")
    fetch(settings, version)
    assert left_over(settings) == [f"temp/new.{this_host()}.0123456789abcdef"]


# --- damage -----------------------------------------------------------------------------------------------------------


def truncate(path: Path) -> None:
    path.chmod(0o644)
    os.truncate(path, path.stat().st_size // 2)


def flip(path: Path) -> None:
    """One bit, with the time as it was."""
    before = path.stat()
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "an image is gone": lambda entry: (entry / "files/images/line0/p0.jpg").unlink(),
    "an image is cut off": lambda entry: truncate(entry / "files/images/line0/p0.jpg"),
    "an image was written to": lambda entry: (entry / "files/images/line0/p0.jpg").write_bytes(bytes(3006)),
    "an annotation file has another bit": lambda entry: flip(entry / "files/annotations_detection.json"),
    "the manifest is cut off": lambda entry: truncate(entry / "manifest"),
    "the manifest is empty": lambda entry: os.truncate(entry / "manifest", 0),
    "the manifest has another bit": lambda entry: flip(entry / "manifest"),
    "the manifest is gone": lambda entry: (entry / "manifest").unlink(),
    "the manifest is of another version": racing.rewrite_manifest,
    "there are no files": lambda entry: (entry / "files").rename(entry / "elsewhere"),
}


@pytest.mark.parametrize("is_in_use", [False, True])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_found_and_fetched_anew(
    store: Path, settings: Settings, version: str, caplog, damage: str, is_in_use: bool
):
    first = fetch(settings, version)
    if not is_in_use:
        first.release()
    DAMAGES[damage](first.path.parent)

    second = fetch(settings, version)

    assert "is damaged and is fetched anew" in caplog.text
    assert tree(second.path) == tree(store / "datasets/ds_1")
    assert first.path.parent.exists() == is_in_use
    assert fetch(settings, version).path == second.path  # and from now on that one
    if is_in_use:
        first.release()
        prune(settings)
        assert not first.path.parent.exists()


def test_what_is_damaged_again_at_once_is_a_clear_error(settings: Settings):
    def fill(workplace: Workplace) -> Origin:
        origin = racing.filler(3)(workplace)
        (workplace.files / "1").unlink()
        return origin

    with pytest.raises(DatasetError, match=r"was damaged as soon as it was fetched: 1: No such file"):
        Cache(settings).obtain(key_of(of="race"), fill)
    assert cached(settings) == []


def test_verify_reads_every_byte(store: Path, settings: Settings):
    put_dataset(store)
    put_dataset(store, "ds_2")
    good, bad = fetch(settings), fetch(settings, dataset_id="ds_2")
    assert verify(settings) == []
    flip(bad.path / "images/line1/p1.jpg")
    write(bad.path / "images/labels.cache", b"")

    problems = verify(settings)

    assert [(one.dataset_id, one.what) for one in problems] == [
        ("ds_2", "images/line1/p1.jpg has another content than it had"),
        ("ds_2", "images/labels.cache is not the dataset's"),
    ]
    assert tree(fetch(settings, dataset_id="ds_2").path) == tree(store / "datasets/ds_2")
    assert fetch(settings).path == good.path


def test_of_very_many_files_some_are_looked_at_all_over(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("trainer_hooks.datasets.caching.manifest._CHECKED", 50)
    key = key_of(of="race")
    first = Cache(settings).obtain(key, racing.filler(400))
    for path in first.path.iterdir():
        if int(path.name) in range(100, 150):
            path.unlink()
    second = Cache(settings).obtain(key, racing.filler(400))
    assert second.path != first.path
    assert len(list(second.path.iterdir())) == 400


# --- eviction ---------------------------------------------------------------------------------------------------------


def fill_cache(settings: Settings, count: int) -> list[datasets.Dataset]:
    """Datasets of 100 kB each, the first longest unused."""
    made = [Cache(settings).obtain(key_of(of=number), racing.filler(25)) for number in range(count)]
    for number, one in enumerate(made):
        one.release()
        os.utime(one.path.parent / "lease", (number + 1, number + 1))
    return made


def holding(tmp_path: Path, datasets_: float) -> Settings:
    return settings_for(tmp_path, dataset_cache_max_gb=datasets_ * 25 * 4096 / 1e9)


def test_the_longest_unused_go_and_no_more_than_needed(tmp_path: Path):
    made = fill_cache(settings_for(tmp_path), 5)
    settings = holding(tmp_path, 3.5)
    Cache(settings).obtain(key_of(of=1), racing.filler(25)).release()  # now the one last used
    new = Cache(settings).obtain(key_of(of="new"), racing.filler(25))
    assert [one.path.exists() for one in made] == [False, True, False, False, True]
    assert new.path.exists()
    assert [entry.dataset_id for entry in cached(settings)] == ["race"] * 3
    assert left_over(settings) == []


def test_what_is_in_use_stays_and_a_limit_too_small_is_only_a_warning(tmp_path: Path, racers, caplog):
    version = put_dataset(tmp_path / "store", count=30)
    holders = [racers("hold", version) for _ in range(2)]
    in_use = {holder.stdout.readline().split()[1] for holder in holders}
    settings = holding(tmp_path, 0.5)
    new = Cache(settings).obtain(key_of(of="new"), racing.filler(25))

    assert new.path.exists()
    assert all(Path(path).exists() for path in in_use)
    assert "over its limit" in caplog.text
    assert sorted(entry.in_use for entry in cached(settings)) == [True, True]

    for holder in holders:
        holder.kill()  # its share ends with it, however it dies
        holder.wait()
    new.release()
    caplog.clear()
    newer = Cache(settings).obtain(key_of(of="newer"), racing.filler(10))
    assert [entry.files for entry in cached(settings)] == [10]
    assert newer.path.exists()
    assert "over its limit" not in caplog.text


def test_one_over_the_limit_leaves_the_others_what_the_limit_allows(tmp_path: Path, caplog):
    made = fill_cache(settings_for(tmp_path), 3)
    new = Cache(holding(tmp_path, 2)).obtain(key_of(of="new"), racing.filler(60))
    assert [one.path.exists() for one in made] == [False, True, True]
    assert new.path.exists()
    assert "over its limit" in caplog.text


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])  # noqa: S301 - our own
def test_a_copy_of_a_dataset_closes_no_other_file(settings: Settings, copied: Callable[..., datasets.Dataset]):
    made = Cache(settings).obtain(key_of(of=1), racing.filler(2))
    other = copied(made)
    assert other.is_cached
    other.release()
    assert cached(settings)[0].in_use
    made.release()
    assert not cached(settings)[0].in_use


def test_a_share_outlives_its_object_and_reaches_forked_processes(settings: Settings):
    path = Cache(settings).obtain(key_of(of=1), racing.filler(2)).path
    prune(settings, everything=True)
    assert path.exists()

    with Cache(settings).obtain(key_of(of=2), racing.filler(2)) as second:
        child = os.fork()
        if not child:
            signal.pause()
    prune(settings, everything=True)
    assert second.path.exists()  # a forked loader still reads it
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    prune(settings, everything=True)
    assert not second.path.exists()


def test_racing_for_too_small_a_cache_loses_nobody_a_file(tmp_path: Path):
    """Six processes, each again and again with another dataset, in a cache that has room for two."""
    for number in range(6):
        put_dataset(tmp_path / "store", f"ds_{number}", count=25)
    command = [sys.executable, racing.__file__, str(tmp_path), "churn"]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    told = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert told.stdout.split() == ["whole"] * 6, told.stderr
    settings = holding(tmp_path, 2)
    prune(settings)
    assert sum(entry.room for entry in cached(settings)) <= settings.dataset_cache_max_gb * 1e9
    assert left_over(settings) == []


def test_a_clock_that_jumps_takes_nothing_from_who_uses_it(tmp_path: Path):
    made = fill_cache(settings_for(tmp_path), 3)
    os.utime(made[0].path.parent / "lease", (4e9, 4e9))  # years ahead
    kept = Cache(settings_for(tmp_path)).obtain(key_of(of=1), racing.filler(25))
    os.utime(made[1].path.parent / "lease", (0, 0))
    prune(holding(tmp_path, 2))
    assert [one.path.exists() for one in made] == [True, True, False]
    assert kept.path.exists()


# --- disks ------------------------------------------------------------------------------------------------------------


def test_a_dataset_that_has_no_room_is_told_before_the_download(store: Path, tmp_path: Path):
    put_dataset(store, count=20, size=2_000_000)
    with small_disk(tmp_path / "disk") as disk:
        if isinstance(disk, LimitedDisk):
            pytest.skip("nothing can be mounted here")
        settings = settings_for(tmp_path, dataset_cache=str(disk.path / "cache"))
        told: list[int] = []
        with pytest.raises(
            OSError,
            match=r"no room for the dataset \(0\.0401 GB in 20 files are to be fetched; 0\.0\d+ GB more are needed",
        ) as caught:
            datasets.fetch("ds_1", settings=settings, progress=lambda files, _: told.append(files))
        assert caught.value.errno == errno.ENOSPC
        assert told == []
        put_dataset(store, "ds_0", count=1)
        kept = fetch(settings, dataset_id="ds_0")
        kept.release()
        with pytest.raises(OSError, match="no room"):
            fetch(settings)
        assert kept.path.exists()  # nothing goes for what can't come all the same
        prune(settings, everything=True)

        put_dataset(store, "ds_2", count=2, size=6_000_000)
        put_dataset(store, "ds_3", count=4, size=6_000_000)
        fetch(settings, dataset_id="ds_2").release()
        assert fetch(settings, dataset_id="ds_3").files == 5  # the other went for it, though within the limit
        assert len(cached(settings)) == 1


def test_a_disk_that_fills_up_meanwhile_gets_its_room_back(store: Path, tmp_path: Path):
    version = put_dataset(store, count=400, size=50_000)
    with small_disk(tmp_path / "disk") as disk:
        settings = settings_for(tmp_path, dataset_cache=str(disk.path / "cache"))
        filled = []

        def fill(files: int, _: int) -> None:
            if files > 5 and not filled:
                filled.append(files)
                disk.fill()

        with pytest.raises(OSError, match=r"no room|File too large"):
            datasets.fetch("ds_1", version_hash=version, settings=settings, progress=fill)
        disk.free()
        if not isinstance(disk, LimitedDisk):  # there, the kernel's error is another one
            assert left_over(settings) == []
        assert tree(fetch(settings, version).path) == tree(store / "datasets/ds_1")


def test_a_cache_that_can_t_be_written_is_read_and_else_named(tmp_path: Path, version: str, settings: Settings):
    fetch(settings, version).release()
    fetch(settings).release()
    for path in (settings.cache_root, *settings.cache_root.iterdir()):
        path.chmod(0o555)
    found = subprocess.run(
        [sys.executable, racing.__file__, str(tmp_path), "read only", version],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert [line.partition(" ")[0] for line in found.stdout.splitlines()[:2]] == ["found", "found"], found.stderr
    assert "DATASET_CACHE_DIR names" in found.stdout.splitlines()[2]


def test_a_cache_that_is_a_file_is_named(tmp_path: Path, version: str):
    settings = settings_for(tmp_path, dataset_cache=str(tmp_path / "file"))
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InvalidSetting, match="DATASET_CACHE_DIR names"):
        fetch(settings, version)
    with pytest.raises(InvalidSetting, match="DATASET_CACHE_DIR names"):
        fetch(settings)


def test_a_disk_without_room_for_another_file_gets_some(tmp_path: Path):
    with small_disk(tmp_path / "disk") as disk:
        if isinstance(disk, LimitedDisk):
            pytest.skip("nothing can be mounted here")
        subprocess.run(["mount", "-o", "remount,nr_inodes=500", disk.path], check=True)
        settings = settings_for(tmp_path, dataset_cache=str(disk.path / "cache"))
        Cache(settings).obtain(key_of(of="old"), racing.filler(400)).release()
        for number in range(os.statvfs(disk.path).f_favail):
            (disk.path / f"{number}").touch()
        put_dataset(tmp_path / "store", count=20, size=10)
        assert fetch(settings).files == 21
        assert len(cached(settings)) == 1


def test_what_a_killed_process_left_goes_for_one_that_needs_the_room(store: Path, tmp_path: Path):
    put_dataset(store, count=4, size=6_000_000)
    with small_disk(tmp_path / "disk") as disk:
        if isinstance(disk, LimitedDisk):
            pytest.skip("nothing can be mounted here")
        settings = settings_for(tmp_path, dataset_cache=str(disk.path / "cache"))
        left = settings.cache_root / f"temp/killed.{this_host()}.0123456789abcdef"
        write(left / "files/1.jpg", bytes(12_000_000))
        assert fetch(settings).files == 5
        assert not left.exists()


def test_a_scratch_folder_in_use_stays_however_long_that_takes(settings: Settings):
    with Cache(settings).scratch() as folder:
        os.utime(folder, (1, 1))
        prune(settings, everything=True)
        assert folder.exists()
        killed = folder.with_name("scratch.killed")
        killed.mkdir()
        (killed / "lease").touch()
        os.utime(killed, (1, 1))
        prune(settings, everything=True)
        assert not killed.exists()


def test_a_process_shows_that_it_lives_while_no_file_comes(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("trainer_hooks.datasets.caching.workplace._SHOWN_EVERY", 0.01)

    def plan(workplace: Workplace) -> Origin:
        os.utime(workplace.path / "alive", (1, 1))
        wait_until(lambda: last_sign_of_life(workplace.path) > 1e9)
        return racing.filler(1)(workplace)

    assert Cache(settings).obtain(key_of(of="race"), plan).files == 1


def test_a_workplace_that_was_taken_away_is_a_clear_error(settings: Settings):
    def fill(workplace: Workplace) -> Origin:
        origin = racing.filler(3)(workplace)
        workplace.path.rename(workplace.path.with_name("elsewhere"))
        return origin

    with pytest.raises(DatasetError, match="was removed while the dataset was fetched"):
        Cache(settings).obtain(key_of(of="race"), fill)


def test_a_cache_that_all_may_write_to_stays_so(settings: Settings):
    settings.cache_root.mkdir()
    settings.cache_root.chmod(0o777)
    modes = []

    def fill(workplace: Workplace) -> Origin:
        modes.extend(path.stat().st_mode & 0o777 for path in settings.cache_root.glob("locks/*"))
        return racing.filler(1)(workplace)

    before = os.umask(0o077)
    try:
        Cache(settings).obtain(key_of(of="race"), fill)
    finally:
        os.umask(before)
    assert modes == [0o666]
    assert {path.stat().st_mode & 0o777 for path in settings.cache_root.iterdir()} == {0o777}


def test_what_others_keep_in_that_directory_stays(settings: Settings, version: str):
    write(settings.cache_root / "0123456789abcdef/.complete", b"")
    write(settings.cache_root / ".cache_metadata.json", b"{")
    fetch(settings, version).release()
    prune(settings, everything=True)
    assert (settings.cache_root / "0123456789abcdef/.complete").exists()
    assert cached(settings) == []


def test_an_empty_cache_is_no_error(settings: Settings):
    assert (cached(settings), verify(settings), prune(settings)) == ([], [], [])


def test_a_record_is_of_the_file_as_it_is(tmp_path: Path):
    write(tmp_path / "file", b"abc")
    record = record_of(tmp_path / "file", "a/b")
    assert (record.path, record.size) == ("a/b", 3)
    assert record.sha256.startswith("ba7816bf")

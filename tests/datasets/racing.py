"""The processes that race for one cache; each prints what came of it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.datasets.stored import settings_for, tree, version_of
from trainer_hooks import datasets
from trainer_hooks.datasets.caching.cache import Cache, key_of
from trainer_hooks.datasets.caching.inventory import prune
from trainer_hooks.datasets.caching.manifest import all_damage, record_of
from trainer_hooks.datasets.caching.workplace import Origin, Workplace
from trainer_hooks.errors import TrainerHooksError
from trainer_hooks.settings import Settings
from trainer_hooks.storage import open_dataset_storage

_pause = threading.Event()


def filler(count: int, then: Callable[[int], object] = lambda _: None) -> Callable[[Workplace], Origin]:
    """Puts so many tiny files into a workplace, without any storage; after each, `then` is called with its number."""

    def fill(workplace: Workplace) -> Origin:
        workplace.resume([])
        for number in range(count):
            file = workplace.files / str(number)
            file.write_bytes(b"%d" % number)
            workplace.keep(record_of(file, file.name))
            then(number)
        return Origin("race", None, "nowhere", None)

    return fill


def version(folder: Path) -> str:
    return version_of(folder / "store/datasets/ds_1")


def rewrite_manifest(entry: Path) -> None:
    """As another version of this package might write it: whole, and not to be understood."""
    content = b'{"something": "else"}\n'
    (entry / "manifest").write_bytes(hashlib.sha256(content).hexdigest().encode() + b"\n" + content)


def _say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def main(folder: Path, what: str, *arguments: str) -> None:
    _RACES[what](folder, *arguments)


def _hold(folder: Path, version_hash: str) -> None:
    told = []
    settings = settings_for(folder)
    found = datasets.fetch("ds_1", version_hash=version_hash, settings=settings, progress=lambda *_: told.append(1))
    _say("fetched" if told else "found", found.path)
    sys.stdin.read()


def _stop(folder: Path) -> None:
    def stop(number: int) -> None:
        if number == 1:
            _say("stopping")
            os.kill(os.getpid(), signal.SIGSTOP)

    found = Cache(settings_for(folder)).obtain(key_of(of="race"), filler(4, stop))
    _say("fetched", found.path)
    sys.stdin.read()


def _kill(folder: Path, version_hash: str, seed: str, rounds: str) -> None:
    """Again and again two processes fetch the same, and are killed at random; what looks whole then must be whole."""
    chance = random.Random(int(seed))
    settings = settings_for(folder)
    took = _time_of_a_fetch(settings, version_hash)
    for _ in range(int(rounds)):
        children = [_forked(lambda: datasets.fetch("ds_1", version_hash=version_hash, settings=settings)) for _ in "12"]
        for child in children:
            _pause.wait(chance.uniform(0, took))
            os.kill(child, signal.SIGKILL)
        killed = [os.WIFSIGNALED(os.waitpid(child, 0)[1]) for child in children]
        _say("killed" if any(killed) else "survived")
        for entry in (settings.cache_root / "entries").glob("*"):
            wrong = list(all_damage(entry))
            assert not wrong, wrong
        if not any(killed):  # so that there is something to fetch in the next round
            prune(settings, everything=True)


def _time_of_a_fetch(settings: Settings, version_hash: str) -> float:
    begun = time.monotonic()
    os.waitpid(_forked(lambda: datasets.fetch("ds_1", version_hash=version_hash, settings=settings)), 0)
    prune(settings, everything=True)
    return time.monotonic() - begun


def _churn(folder: Path) -> None:
    """Six processes, each with one dataset after the other, in a cache with room for two."""
    settings = settings_for(folder, dataset_cache_max_gb=2 * 25 * 4096 / 1e9)

    def work(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(8):
            name = f"ds_{chance.randrange(6)}"
            with datasets.fetch(name, settings=settings) as found:
                assert tree(found.path) == tree(folder / "store/datasets" / name), name

    children = [_forked(lambda seed=seed: work(seed)) for seed in range(6)]
    for child in children:
        _, status = os.waitpid(child, 0)
        _say("whole" if status == 0 else f"status {status}")


def _read_only(folder: Path, version_hash: str) -> None:
    settings, fetch = settings_for(folder), datasets.fetch
    open_dataset_storage(settings)  # loads its module, while that can be read
    with _without_root(folder):
        _say("found", fetch("ds_1", version_hash=version_hash, settings=settings).path)
        _say("found", fetch("ds_1", settings=settings).path)
        try:
            fetch("ds_1", whole=True, settings=settings)
        except TrainerHooksError as error:
            _say(error)


@contextlib.contextmanager
def _without_root(folder: Path) -> Iterator[None]:
    """As a user who may not write everywhere, and gets into the test's folder all the same."""
    if os.geteuid():
        yield
        return
    modes = {above: above.stat().st_mode for above in (folder, *folder.parents)}
    for above, mode in modes.items():
        above.chmod(mode | 0o055)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        for above, mode in modes.items():
            above.chmod(mode)


def _forked(work: Callable[[], object]) -> int:
    child = os.fork()
    if child:
        return child
    try:
        work()
    except BaseException as error:  # noqa: BLE001 - the child ends here, whatever it was
        sys.stderr.write(f"{error!r}\n")
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


_RACES: dict[str, Callable[..., None]] = {
    "hold": _hold,
    "stop": _stop,
    "kill": _kill,
    "churn": _churn,
    "read only": _read_only,
}

if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])

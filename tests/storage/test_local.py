"""What a directory as a store adds to the contract."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.storage.conftest import names_in
from trainer_hooks.errors import StorageRefused
from trainer_hooks.storage import Storage, open_storage


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "store"
    path.mkdir()
    return path


@pytest.fixture
def store(root: Path) -> Storage:
    return open_storage(root.as_uri())


@pytest.fixture
def outside(tmp_path: Path, root: Path) -> Path:
    """A directory elsewhere that a link in the store leads to."""
    path = tmp_path / "outside"
    path.mkdir()
    (path / "theirs").write_bytes(b"theirs")
    (root / "link").symlink_to(path)
    return path


def test_nothing_is_written_or_removed_through_a_link_that_leads_out(store: Storage, outside: Path, tmp_path: Path):
    source = tmp_path / "source"
    source.write_bytes(b"ours")
    store.put_bytes(b"ours", "inside")
    for use in (
        lambda: store.put(source, "link/new"),
        lambda: store.put(source, "link/deep/new"),
        lambda: store.put_bytes(b"ours", "link/theirs"),
        lambda: store.copy("inside", "link/theirs"),
        lambda: store.delete("link/theirs"),
    ):
        with pytest.raises(StorageRefused, match="leads out"):
            use()
    assert names_in(outside) == ["theirs"]
    assert (outside / "theirs").read_bytes() == b"theirs"


def test_links_are_followed_for_reading(store: Storage, outside: Path):
    assert store.read("link/theirs") == b"theirs"
    assert [found.key for found in store.list()] == ["link/theirs"]
    (outside / "back").symlink_to(outside.parent / "store")
    assert [found.key for found in store.list()] == ["link/theirs"]


def test_a_link_under_the_key_is_replaced_and_not_followed(store: Storage, root: Path, tmp_path: Path):
    theirs = tmp_path / "theirs"
    theirs.write_bytes(b"theirs")
    (root / "key").symlink_to(theirs)
    store.put_bytes(b"ours", "key")
    assert theirs.read_bytes() == b"theirs"
    assert store.read("key") == b"ours"


def test_a_reader_keeps_the_object_that_it_has_open(store: Storage, root: Path):
    store.put_bytes(b"old", "key")
    with (root / "key").open("rb") as reader:
        store.put_bytes(b"new", "key")
        assert reader.read() == b"old"


def test_what_a_killed_process_left_is_no_object(store: Storage, root: Path):
    left = root / f".{'0123456789abcdef' * 2}.partial"
    left.write_bytes(b"half")
    assert list(store.list()) == []
    with pytest.raises(StorageRefused):
        store.put_bytes(b"x", left.name)


def test_no_temporary_file_stays(store: Storage, root: Path, tmp_path: Path):
    source = tmp_path / "source"
    source.write_bytes(b"content")
    seen: list[set[str]] = []

    def fail() -> None:
        seen.append(set(names_in(root)))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.put(source, "key", before_visible=fail)
    store.put(source, "key")
    assert len(seen[0]) == 1  # beside its place, so that a rename suffices
    assert names_in(root) == ["key"]


def test_an_object_is_readable_to_those_the_umask_allows(store: Storage, root: Path, tmp_path: Path):
    (tmp_path / "source").write_bytes(b"x")
    (tmp_path / "plain").write_bytes(b"x")
    store.put(tmp_path / "source", "key")
    assert (root / "key").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_listings_are_in_the_order_of_the_keys(store: Storage):
    keys = ["a", "a-b/x", "a.b", "b/c", "b/c.d/e", "b0", "c/d"]
    for key in reversed(keys):
        store.put_bytes(b"", key)
    assert [found.key for found in store.list()] == sorted(keys)


def test_a_file_where_a_directory_is_needed_is_refused(store: Storage):
    store.put_bytes(b"", "a")
    store.put_bytes(b"", "b/c")
    for key in ("a/below", "b"):
        with pytest.raises(StorageRefused):
            store.put_bytes(b"x", key)
    assert [found.key for found in store.list()] == ["a", "b/c"]


def test_a_name_too_long_for_the_file_system_is_refused(store: Storage):
    with pytest.raises(StorageRefused):
        store.put_bytes(b"", "n" * 300)


def test_an_object_that_may_not_be_read_is_refused_at_any_size():
    with tempfile.TemporaryDirectory() as place:
        root, target = Path(place), Path(place) / "target"
        target.mkdir()
        for folder, mode in ((root, 0o755), (target, 0o777)):
            folder.chmod(mode)
        (root / "big").write_bytes(bytes(2 << 20))
        (root / "big").chmod(0)
        store = open_storage(root.as_uri())
        with as_nobody():
            for use in (lambda: store.get("big", target / "file"), lambda: store.read("big")):
                with pytest.raises(StorageRefused, match="Permission denied"):
                    use()
        assert not list(target.iterdir())


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Root may read everything."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)

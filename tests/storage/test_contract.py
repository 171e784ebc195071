"""What every store promises: the same cases on each."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.servers.s3 import BUCKET
from tests.storage.conftest import Place, names_in, written
from trainer_hooks.errors import ObjectMissing, StorageError, StorageRefused
from trainer_hooks.storage import Storage, open_storage

ODD_KEYS = [
    "plain",
    "a/deep/one.pt",
    "with blank",
    "trailing ",
    "plus+and%41percent",
    "what?is#this",
    "ünïcode/日本/e\u0301",
    "\"quotes\" & <angles> 'n' ;:@=,$!*()[]{}|^~`",
    ".hidden/.too",
    "three...dots/..x/x..",
    "x" * 200,
]
BAD_KEYS = [
    "",
    "/absolute",
    "../up",
    "a/../b",
    "a/./b",
    ".",
    "a//b",
    "a/",
    "nul\0",
    "back\\slash",
    "new\nline",
    "\ud800",
]
BAD_KEYS.append("k" * 1025)


def test_what_is_put_comes_back(store: Storage, tmp_path: Path):
    source = written(tmp_path / "source", 100_000)
    before = time.time()

    stored = store.put(source, "a/model.pt")

    assert (stored.key, stored.size) == ("a/model.pt", 100_000)
    assert before - 2 < stored.modified < time.time() + 2
    assert store.stat("a/model.pt").size == 100_000
    assert store.read("a/model.pt") == source.read_bytes()
    got = store.get("a/model.pt", tmp_path / "target")
    assert (got.key, got.size) == ("a/model.pt", 100_000)
    assert (tmp_path / "target").read_bytes() == source.read_bytes()


def test_bytes_are_put_as_they_are(store: Storage):
    assert store.put_bytes(b"\x00\r\n{}", "manifest.json").size == 5
    assert store.read("manifest.json") == b"\x00\r\n{}"


def test_a_later_object_replaces_the_earlier_one(store: Storage, tmp_path: Path):
    store.put_bytes(b"a much longer first one", "key")
    store.put(written(tmp_path / "source", 3), "key")
    assert store.read("key") == (tmp_path / "source").read_bytes()
    assert [found.size for found in store.list("key")] == [3]


def test_an_empty_object_is_an_object(store: Storage, tmp_path: Path):
    empty = written(tmp_path / "empty", 0)
    calls = []
    assert store.put(empty, "one").size == 0
    assert store.put(empty, "two", before_visible=lambda: calls.append("called")).size == 0
    assert store.put_bytes(b"", "three").size == 0
    assert calls == ["called"]
    assert sorted(found.key for found in store.list()) == ["one", "three", "two"]
    for key in ("one", "two", "three"):
        assert store.get(key, tmp_path / key).size == 0
        assert (tmp_path / key).read_bytes() == store.read(key) == b""


def test_metadata_comes_back_where_the_store_keeps_any(place: Place, store: Storage, tmp_path: Path):
    metadata = {"sha256": "ab" * 32, "epoch": "7", "note": "two words; 100 %"}
    store.put(written(tmp_path / "source", 10), "key", metadata=metadata)
    store.put(tmp_path / "source", "in-parts", metadata=metadata, before_visible=lambda: None)
    for key in ("key", "in-parts"):
        kept = store.stat(key).metadata
        assert kept == ({} if place.kind == "local" else metadata)


def test_metadata_that_no_header_can_carry_is_refused(store: Storage, tmp_path: Path):
    source = written(tmp_path / "source", 1)
    for metadata in ({"Upper": "x"}, {"a b": "x"}, {"a": "é"}, {"a": "x\n"}, {"a": " x"}, {"a": "x" * 3000}):
        with pytest.raises(StorageRefused, match="metadata"):
            store.put(source, "key", metadata=metadata)


def test_until_the_object_is_visible_readers_see_the_old_one(store: Storage, tmp_path: Path):
    store.put_bytes(b"old", "key")
    seen = []
    source = written(tmp_path / "source", 50_000)

    store.put(source, "key", before_visible=lambda: seen.append(store.read("key")))

    assert seen == [b"old"]
    assert store.read("key") == source.read_bytes()


def test_an_error_before_the_object_is_visible_leaves_the_old_one(store: Storage, tmp_path: Path):
    store.put_bytes(b"old", "key")
    source = written(tmp_path / "source", 50_000)

    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.put(source, "key", before_visible=fail)
    assert store.read("key") == b"old"
    assert [found.key for found in store.list()] == ["key"]

    store.put(source, "key", before_visible=lambda: None)
    assert store.read("key") == source.read_bytes()


@pytest.mark.parametrize("key", ODD_KEYS)
def test_odd_keys_are_kept_as_they_are(store: Storage, tmp_path: Path, key: str):
    store.put_bytes(b"content", key)
    assert [found.key for found in store.list()] == [key]
    assert [found.key for found in store.list(key)] == [key]
    assert store.stat(key).size == 7
    store.get(key, tmp_path / "target")
    store.copy(key, f"copy of/{key}")
    assert store.read(f"copy of/{key}") == b"content"
    store.put(tmp_path / "target", key, before_visible=lambda: None)
    assert store.read(key) == b"content"
    store.delete(key)
    assert [found.key for found in store.list()] == [f"copy of/{key}"]


def test_a_malformed_key_is_refused_by_name(store: Storage, tmp_path: Path):
    source = written(tmp_path / "source", 1)
    store.put_bytes(b"", "good")
    uses = (
        lambda key: store.put(source, key),
        lambda key: store.put_bytes(b"", key),
        lambda key: store.copy("good", key),
        lambda key: store.copy(key, "other"),
        lambda key: store.get(key, tmp_path / "target"),
        store.read,
        store.stat,
        store.delete,
        store.uri,
    )
    for key in BAD_KEYS:
        for use in uses:
            with pytest.raises(StorageRefused) as refusal:
                use(key)
            assert repr(key[:200]) in str(refusal.value)
    assert [found.key for found in store.list()] == ["good"]


def test_what_is_missing_is_told_as_missing(store: Storage, tmp_path: Path):
    store.put_bytes(b"", "there")
    for key in ("missing", "there/below", "the"):
        for use in (
            store.stat,
            store.read,
            lambda key: store.get(key, tmp_path / "target"),
            lambda key: store.copy(key, "new"),
        ):
            with pytest.raises(ObjectMissing):
                use(key)
    assert [found.key for found in store.list()] == ["there"]


def test_a_failed_get_leaves_the_target_as_it_was(store: Storage, tmp_path: Path):
    target = tmp_path / "downloads" / "target"
    target.parent.mkdir()
    with pytest.raises(ObjectMissing):
        store.get("missing", target)
    assert names_in(target.parent) == []
    target.write_bytes(b"before")
    with pytest.raises(ObjectMissing):
        store.get("missing", target)
    assert names_in(target.parent) == ["target"]
    assert target.read_bytes() == b"before"


def test_a_source_that_is_not_there_is_the_callers_error(store: Storage, tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        store.put(tmp_path / "missing", "key")
    assert list(store.list()) == []


def test_a_target_that_cannot_be_written_is_the_callers_error(store: Storage, tmp_path: Path):
    store.put_bytes(b"x", "key")
    with pytest.raises(FileNotFoundError):
        store.get("key", tmp_path / "no such directory" / "target")


def test_delete_removes_and_is_content_with_nothing_to_remove(store: Storage):
    store.put_bytes(b"x", "a/key")
    store.delete("a/key")
    store.delete("a/key")
    store.delete("never/was")
    store.delete("a")
    assert list(store.list()) == []


def test_a_copy_is_an_object_of_its_own(store: Storage):
    store.put_bytes(b"first", "last.pt")
    store.put_bytes(b"older best", "best.pt")
    assert store.copy("last.pt", "best.pt").size == 5
    store.put_bytes(b"second", "last.pt")
    assert store.read("best.pt") == b"first"
    assert store.copy("best.pt", "best.pt").size == 5
    assert store.read("best.pt") == b"first"


def test_a_listing_is_by_the_keys_first_characters(store: Storage, place: Place):
    place.fill(["a-b", "a/1", "a/b/2", "ab", "b"])

    def keys(prefix: str) -> list[str]:
        return sorted(found.key for found in store.list(prefix))

    assert keys("") == ["a-b", "a/1", "a/b/2", "ab", "b"]
    assert keys("a/") == ["a/1", "a/b/2"]
    assert keys("a/b") == ["a/b/2"]
    assert keys("ab") == ["ab"]
    assert keys("nothing") == keys("a/b/2/") == keys("/a") == keys("a//") == []


def test_long_listings_are_whole(store: Storage, place: Place):
    count = 1005 if place.kind != "moto" else 20  # it takes 10 s for so many; paging is tested on the others
    place.fill([f"many/{number:04}" for number in range(count)])
    found = list(store.list("many/"))
    assert sorted(one.key for one in found) == [f"many/{number:04}" for number in range(count)]
    assert {one.size for one in found} == {1}


def test_the_uri_is_the_full_address(store: Storage, place: Place):
    address = store.uri("a/model best.pt")
    assert address == f"{place.uri}/a/" + (quote("model best.pt") if place.kind == "local" else "model best.pt")


def test_one_store_serves_many_threads(store: Storage, tmp_path: Path):
    def there_and_back(number: int) -> bool:
        source = written(tmp_path / f"source{number}", 1000 + number)
        store.put(source, f"key{number}")
        store.get(f"key{number}", tmp_path / f"target{number}")
        return source.read_bytes() == (tmp_path / f"target{number}").read_bytes()

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(there_and_back, range(40)))
    assert len(list(store.list())) == 40


def test_of_two_puts_of_one_key_at_once_one_stays_whole(store: Storage, tmp_path: Path):
    sources = [written(tmp_path / f"source{number}", 30_000) for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda source: store.put(source, "key", before_visible=lambda: None), sources))
    assert store.read("key") in [source.read_bytes() for source in sources]


def test_a_bucket_that_is_not_there_is_refused_and_named(place: Place, tmp_path: Path):
    if place.server is None:
        missing = open_storage((tmp_path / "no such").as_uri())
        assert list(missing.list()) == []  # a directory is made when the first object comes
        return
    missing = place._replace(uri="s3://no-such-bucket/x").open()
    source = written(tmp_path / "source", 10)
    for use in (
        lambda: missing.put(source, "key"),
        lambda: missing.put(source, "key", before_visible=lambda: None),
        lambda: missing.get("key", tmp_path / "target"),
        lambda: missing.stat("key"),
        lambda: missing.copy("key", "other"),
        lambda: list(missing.list()),
    ):
        with pytest.raises(StorageRefused, match=r"no-such-bucket.*create the bucket"):
            use()


def test_wrong_credentials_are_refused_at_every_use(place: Place, tmp_path: Path):
    if place.server is None or not place.server.checks_credentials:
        return
    source = written(tmp_path / "source", 10)
    wrong_secret = place.server._replace(secret_key="wrong-secret-0123456789")
    wrong_key = place.server._replace(access_key="WRONGACCESSKEY")
    for server in (wrong_secret, wrong_key):
        store = place._replace(server=server).open()
        for use in (
            lambda store=store: store.put(source, "key"),
            lambda store=store: store.put(source, "key", before_visible=lambda: None),
            lambda store=store: store.stat("key"),
            lambda store=store: store.read("key"),
            lambda store=store: list(store.list()),
        ):
            with pytest.raises(StorageRefused, match=r"INTERNAL_STORAGE_SECRET_KEY.*EXTERNAL_STORAGE_") as refusal:
                use()
            assert "wrong-secret" not in str(refusal.value)
            assert BUCKET in str(refusal.value)
    with pytest.raises(ObjectMissing):
        place.open().stat("key")


def test_errors_of_a_store_are_storage_errors():
    assert issubclass(ObjectMissing, StorageError)
    assert issubclass(StorageRefused, StorageError)

"""What S3 adds to the contract: uploads that resume, content that is verified, and servers that behave oddly."""

from __future__ import annotations

import hashlib
import os
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig

from tests.servers.s3 import BUCKET
from tests.storage.conftest import MIB, Bucket, names_in, written
from tests.waiting import wait_until
from trainer_hooks.errors import ObjectMissing, StorageError, StorageRefused
from trainer_hooks.redact import Redactor
from trainer_hooks.storage import s3
from trainer_hooks.storage.s3.calls import Calls, md5_of
from trainer_hooks.storage.s3.copying import copy_in_parts
from trainer_hooks.storage.s3.parts import combined_md5, plan

HEADERS = 20_000  # more than all headers of one test's requests


def cut_in_the_third_part(bucket: Bucket, store: s3.S3Storage, source: Path) -> None:
    """Leave an upload that broke off in its third part, the first two having arrived."""
    bucket.proxy.cut_upstream_after = 2 * bucket.part_size + bucket.part_size // 2
    with pytest.raises(StorageError):
        store.put(source, "last.pt")
    bucket.proxy.refuse = False


def test_an_upload_that_broke_off_goes_on_with_the_missing_parts(bucket: Bucket, source: Path):
    store = bucket.open(workers=1)
    cut_in_the_third_part(bucket, store, source)
    sent_before = bucket.proxy.bytes_upstream

    store.put(source, "last.pt")

    sent = bucket.proxy.bytes_upstream - sent_before
    assert source.stat().st_size - 2 * bucket.part_size <= sent < source.stat().st_size - 2 * bucket.part_size + HEADERS
    assert store.read("last.pt") == source.read_bytes()
    assert bucket.unfinished() == []


def test_another_process_goes_on_with_the_upload(bucket: Bucket, source: Path):
    cut_in_the_third_part(bucket, bucket.open(workers=1), source)
    sent_before = bucket.proxy.bytes_upstream
    bucket.open(workers=2).put(source, "last.pt")
    assert bucket.proxy.bytes_upstream - sent_before < source.stat().st_size - 2 * bucket.part_size + HEADERS


def test_an_upload_that_broke_off_shows_nothing(bucket: Bucket, source: Path):
    store = bucket.open(workers=1)
    cut_in_the_third_part(bucket, store, source)
    with pytest.raises(ObjectMissing):
        store.stat("last.pt")
    assert list(store.list()) == []
    assert bucket.unfinished() == [f"{bucket.prefix}/last.pt"]


def test_an_upload_of_other_content_is_not_taken_up(bucket: Bucket, source: Path):
    store = bucket.open(workers=1)
    cut_in_the_third_part(bucket, store, source)
    content = bytearray(source.read_bytes())
    content[bucket.part_size + 1] ^= 1
    source.write_bytes(content)

    store.put(source, "last.pt")

    assert store.read("last.pt") == bytes(content)
    assert bucket.unfinished() == []


def test_unfinished_uploads_of_other_keys_are_left_alone(bucket: Bucket, source: Path):
    client = bucket.server.client()
    client.create_multipart_upload(Bucket=BUCKET, Key=f"{bucket.prefix}/last.pt.other")
    client.create_multipart_upload(Bucket=BUCKET, Key=f"{bucket.prefix}/last.pt")
    bucket.open().put(source, "last.pt")
    assert bucket.unfinished() == [f"{bucket.prefix}/last.pt.other"]


def test_only_one_request_lies_between_the_call_and_the_visible_object(bucket: Bucket, source: Path):
    store = bucket.open()
    sent = []
    store.put(source, "last.pt", before_visible=lambda: sent.append(bucket.proxy.bytes_upstream))
    assert sent[0] > source.stat().st_size
    assert bucket.proxy.bytes_upstream - sent[0] < HEADERS


def test_an_answer_that_was_lost_after_completion_is_no_failure(bucket: Bucket, tmp_path: Path):
    store = bucket.open()
    source = written(tmp_path / "source", 1000)

    def lose_the_next_answer() -> None:
        bucket.proxy.refuse_after_cut = False
        bucket.proxy.cut_downstream_after = 0

    store.put(source, "last.pt", before_visible=lose_the_next_answer)
    assert bucket.proxy.cut_downstream_after is None
    assert store.read("last.pt") == source.read_bytes()
    assert bucket.unfinished() == []


def test_a_bit_flipped_on_the_way_up_is_never_visible(bucket: Bucket, source: Path):
    store = bucket.open(workers=1)
    for offset in (bucket.part_size // 2, 2 * bucket.part_size):
        bucket.proxy.flip_upstream_after = offset
        with pytest.raises(StorageError):
            store.put(source, "last.pt")
        assert bucket.proxy.flip_upstream_after is None
        assert list(store.list()) == []
        assert bucket.unfinished() == []
    store.put(source, "last.pt")
    assert store.read("last.pt") == source.read_bytes()


def test_a_bit_flipped_in_a_small_object_is_never_kept(bucket: Bucket, tmp_path: Path):
    store = bucket.open()
    bucket.proxy.flip_upstream_after = 50_000
    with pytest.raises(StorageError):
        store.put(written(tmp_path / "source", 100_000), "small")
    assert bucket.proxy.flip_upstream_after is None
    with pytest.raises(ObjectMissing):
        store.stat("small")


def test_a_bit_flipped_on_the_way_down_is_never_kept(bucket: Bucket, tmp_path: Path):
    store = bucket.open()
    store.put_bytes(os.urandom(100_000), "small")
    for get in (lambda: store.get("small", tmp_path / "target"), lambda: store.read("small")):
        bucket.proxy.flip_downstream_after = 50_000
        with pytest.raises(StorageError, match="checksum"):
            get()
        assert bucket.proxy.flip_downstream_after is None
    assert not (tmp_path / "target").exists()


def test_large_objects_of_ours_are_verified_part_by_part(
    bucket: Bucket, source: Path, server_kind: str, tmp_path: Path
):
    if server_kind == "rclone":
        return  # it tells the MD5 of the whole, which ranges in parallel can't be compared with
    store = bucket.open()
    store.put(source, "large")
    bucket.proxy.flip_downstream_after = bucket.part_size + 50_000
    with pytest.raises(StorageError, match="checksum"):
        store.get("large", tmp_path / "target")
    assert not (tmp_path / "target").exists()
    store.get("large", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == source.read_bytes()


def test_objects_in_parts_of_any_size_are_fetched_whole(bucket: Bucket, source: Path, server_kind: str, tmp_path: Path):
    others = ("larger", bucket.part_size + 1000), ("one", 100 * MIB)
    for key, part_size in others:
        bucket.open(part_size=part_size).put(source, key, before_visible=lambda: None)
    # As many parts as ours would be, and not ours.
    config = TransferConfig(multipart_threshold=MIB, multipart_chunksize=bucket.part_size + 1000)
    bucket.server.client().upload_file(str(source), BUCKET, f"{bucket.prefix}/foreign", Config=config)
    # As a copy by another tool, which takes our metadata along; Ceph has no way to tell that its parts are others.
    told = {} if server_kind == "ceph" else {"Metadata": {"trainer-hooks-part-size": str(bucket.part_size)}}
    bucket.server.client().upload_file(str(source), BUCKET, f"{bucket.prefix}/moved", Config=config, ExtraArgs=told)
    for key in ("larger", "one", "foreign", "moved"):
        for part_size in (bucket.part_size, 100 * MIB):
            assert bucket.open(part_size=part_size).get(key, tmp_path / "target").size == source.stat().st_size
            assert (tmp_path / "target").read_bytes() == source.read_bytes()


def test_a_file_that_is_rewritten_during_its_upload_is_not_stored_torn(bucket: Bucket, source: Path):
    store = bucket.open()
    bucket.proxy.stall = True
    with ThreadPoolExecutor(1) as pool:
        putting = pool.submit(store.put, source, "last.pt")
        wait_until(lambda: bucket.proxy.waiting, what="the upload's first request")
        source.write_bytes(os.urandom(source.stat().st_size))
        bucket.proxy.stall = False
        with pytest.raises(StorageError, match="changed while it was uploaded"):
            putting.result(timeout=60)
    assert list(store.list()) == []
    assert bucket.unfinished() == []


def test_a_download_that_breaks_off_leaves_nothing(bucket: Bucket, source: Path, tmp_path: Path):
    store = bucket.open()
    store.put(source, "large")
    folder = tmp_path / "downloads"
    folder.mkdir()
    bucket.proxy.cut_downstream_after = bucket.part_size + 1000
    with pytest.raises(StorageError):
        store.get("large", folder / "target")
    assert names_in(folder) == []


class Between:
    """The store's requests, with something happening before those of one operation."""

    def __init__(self, calls: Calls, operation: str, happens: Callable[[], None]) -> None:
        self._calls = calls
        self._operation = operation
        self._happens = happens
        self.head = calls.head
        self.errors = calls.errors

    def __call__(self, operation: str, key: str, **arguments: Any) -> dict[str, Any]:
        if operation == self._operation:
            self._happens()
        return self._calls(operation, key, **arguments)

    def pages(self, operation: str, **arguments: Any) -> Iterator[dict[str, Any]]:
        if operation == self._operation:
            self._happens()
        return self._calls.pages(operation, **arguments)


class Encrypting(Between):
    """As of a bucket that is encrypted with a key of one's own: its ETags are no MD5s. Remembers the requests."""

    def __init__(self, calls: Calls) -> None:
        super().__init__(calls, "", lambda: None)
        self.requests: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, operation: str, key: str, **arguments: Any) -> dict[str, Any]:
        self.requests.append((operation, arguments))
        return {**super().__call__(operation, key, **arguments), "ServerSideEncryption": "aws:kms"}


def with_calls(bucket: Bucket, calls: Between) -> s3.S3Storage:
    return s3.S3Storage(calls, BUCKET, f"{bucket.prefix}/", part_size=bucket.part_size, workers=1)


def test_an_object_replaced_during_its_download_is_never_mixed(bucket: Bucket, source: Path, tmp_path: Path):
    store = bucket.open()
    store.put(source, "last.pt")
    other = written(tmp_path / "other", source.stat().st_size)
    requests = []

    def replace_at_the_second_request() -> None:
        requests.append("get")
        if len(requests) == 2:
            store.put(other, "last.pt")

    slow = with_calls(bucket, Between(store._calls, "get_object", replace_at_the_second_request))
    with pytest.raises(StorageError):
        slow.get("last.pt", tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_where_etags_tell_nothing_every_part_carries_its_md5(bucket: Bucket, source: Path, tmp_path: Path):
    calls = Encrypting(bucket.calls)
    store = with_calls(bucket, calls)
    assert store.put(source, "large").size == source.stat().st_size
    parts = [arguments for operation, arguments in calls.requests if operation == "upload_part"]
    assert {part["PartNumber"] for part in parts if "ContentMD5" in part} == {1, 2, 3, 4}
    assert store.put_bytes(b"small", "small").size == 5
    store.get("large", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == source.read_bytes()
    assert store.read("small") == b"small"


def test_where_uploads_cannot_be_listed_none_is_left_behind(bucket: Bucket, source: Path):
    real = bucket.open(workers=1)

    def refuse() -> None:
        raise StorageRefused("list_multipart_uploads: NotImplemented (501)")

    store = with_calls(bucket, Between(real._calls, "list_multipart_uploads", refuse))
    store.put(source, "fine.pt")

    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.put(source, "failing.pt", before_visible=fail)
    assert bucket.unfinished() == []
    assert [found.key for found in store.list()] == ["fine.pt"]


def test_two_threads_with_one_key_do_not_spoil_each_other(bucket: Bucket, source: Path, tmp_path: Path):
    store = bucket.open()
    other = written(tmp_path / "other", source.stat().st_size)
    with ThreadPoolExecutor(1) as pool:
        second = []

        def put_another_now() -> None:
            second.append(pool.submit(store.put, other, "last.pt"))
            wait_until(lambda: store._written._waiters or second[0].done(), what="the other put")

        store.put(source, "last.pt", before_visible=put_another_now)
        second[0].result(timeout=60)
    assert store.read("last.pt") == other.read_bytes()
    assert bucket.unfinished() == []


def test_a_large_sparse_file_goes_up_and_down(bucket: Bucket, server_kind: str, tmp_path: Path):
    if server_kind == "moto":
        return  # too slow for so much
    source = tmp_path / "sparse"
    with source.open("wb") as file:
        file.truncate(64 * MIB)
        file.seek(40 * MIB)
        file.write(b"somewhere")
    store = bucket.open(workers=4)
    assert store.put(source, "sparse").size == 64 * MIB
    store.get("sparse", tmp_path / "target")
    assert hashlib.sha256((tmp_path / "target").read_bytes()).digest() == hashlib.sha256(source.read_bytes()).digest()


def test_a_large_object_is_copied_in_parts_where_the_server_can(bucket: Bucket, source: Path, server_kind: str):
    store = bucket.open()
    store.put(source, "large", metadata={"sha256": "ab"})
    full = f"{bucket.prefix}/large"
    place = {"Bucket": BUCKET, "Key": full}
    head = store._calls.head(full)

    copied = copy_in_parts(store._calls, place, head, f"{full}.copy", part_size=bucket.part_size, workers=2)

    assert copied == (server_kind != "rclone")
    assert bucket.unfinished() == []
    if copied:
        assert store.read("large.copy") == source.read_bytes()
        assert store.stat("large.copy").metadata == {"sha256": "ab"}


def test_no_error_tells_a_credential(bucket: Bucket, source: Path):
    secrets = {"access_key": "AKIASECRETNAME", "secret_key": "s3cr3t-that-nobody-may-see"}
    wrong = s3.open(f"s3://{BUCKET}", endpoint=bucket.proxy.url, **secrets)
    nowhere = s3.open(f"s3://{BUCKET}", endpoint="http://127.0.0.1:9", **secrets)
    bad_bucket = s3.open("s3://Not_A_Bucket", endpoint=bucket.proxy.url, **secrets)
    if not bucket.server.checks_credentials:
        bucket.proxy.refuse = True
        bucket.proxy.cut()
    errors = []
    for store in (wrong, nowhere, bad_bucket):
        for use in (
            lambda store=store: store.put(source, "key"),
            lambda store=store: store.get("key", source),
            lambda store=store: list(store.list()),
            lambda store=store: store.stat("key"),
        ):
            with pytest.raises(StorageError) as failure:
                use()
            errors.append("".join(traceback.format_exception(failure.value)))
    for text in errors:
        assert not [secret for secret in (*secrets.values(), "X-Amz-Signature", "Signature=") if secret in text]


def test_without_keys_and_without_a_chain_no_credentials_are_made_up(
    bucket: Bucket, source: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    for variable in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    store = s3.open(f"s3://{BUCKET}", endpoint=bucket.proxy.url)
    with pytest.raises(StorageRefused) as refusal:
        store.put(source, "key")
    assert "no credentials were found" in Redactor().text(str(refusal.value))
    assert bucket.proxy.connections == 0


def test_without_keys_the_environments_own_are_used(bucket: Bucket, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", bucket.server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", bucket.server.secret_key)
    store = s3.open(f"s3://{BUCKET}/{bucket.prefix}", endpoint=bucket.proxy.url)
    store.put_bytes(b"x", "key")
    assert store.read("key") == b"x"


def test_a_server_that_cannot_be_reached_is_an_error_that_may_mend(bucket: Bucket):
    store = bucket.open()
    bucket.proxy.refuse = True
    bucket.proxy.cut()
    with pytest.raises(StorageError) as failure:
        store.stat("key")
    assert not isinstance(failure.value, ObjectMissing | StorageRefused)


def test_parts_are_as_many_as_s3_takes():
    assert plan(0, 10) == []
    assert [tuple(part) for part in plan(25, 10)] == [(1, 0, 10), (2, 10, 10), (3, 20, 5)]
    assert [part.last for part in plan(20, 10)] == [9, 19]
    huge = plan(5 << 40, 16 * MIB)
    assert len(huge) <= 10_000
    assert sum(part.size for part in huge) == 5 << 40
    assert len({part.size for part in huge[:-1]}) == 1


def test_an_etag_counts_only_where_it_is_an_md5():
    md5 = hashlib.md5(b"x", usedforsecurity=False).hexdigest()
    assert md5_of({"ETag": f'"{md5}"'}) == md5
    assert md5_of({"ETag": f'"{md5}-12"', "ServerSideEncryption": "AES256"}) == f"{md5}-12"
    assert combined_md5([md5, md5]).endswith("-2")
    for answer in (
        {},
        {"ETag": '"0x8D"'},
        {"ETag": f'"{md5}-x"'},
        {"ETag": f'"{md5}"', "ServerSideEncryption": "aws:kms"},
        {"ETag": f'"{md5}"', "SSECustomerAlgorithm": "AES256"},
    ):
        assert md5_of(answer) is None


def test_no_thread_outlives_a_transfer(bucket: Bucket, source: Path, tmp_path: Path):
    store = bucket.open(workers=4)
    store.put(source, "key")
    store.get("key", tmp_path / "target")
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("s3-")]

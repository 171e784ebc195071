"""Checkpoints as readers fetch them: from the store or from here, and from nowhere that a run merely names."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.receiver.serving import Receiver, envelope
from tests.servers.s3 import BUCKET, moto_server
from trainer_hooks.checkpoint_store import CheckpointStore, Manifest
from trainer_hooks.storage import open_storage

CONTENT = b"weights" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that the receiver's TRAINER_HOOKS_STORAGE names."""
    return tmp_path_factory.mktemp("a store")


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory, store: Path) -> Any:
    """A receiver with a store in a directory."""
    with Receiver(tmp_path_factory.mktemp("received"), TRAINER_HOOKS_STORAGE=store.as_uri()) as running:
        yield running


def tell(receiver: Receiver, run: str, uri: str, name: str = "best", seq: int = 1) -> None:
    """Have a courier say that a checkpoint is there."""
    stored = {"type": "checkpoint_stored", "name": name, "uri": uri, "manifest_uri": "", "size": 7, "sha256": "ab"}
    body = {"events": [envelope(run, seq, stored)]}
    assert receiver.post(f"/training/jobs/{run}/events", body).json()["rejected"] == {}


def put(store: Path, job: str, tmp_path: Path) -> str:
    """Store a checkpoint as our courier does; returns its URI."""
    kept = CheckpointStore(open_storage(store.as_uri()), job)
    source = tmp_path / "best.pt"
    source.write_bytes(CONTENT)
    key = kept.key("best", ".pt")
    about = {"sha256": SHA256, "size": len(CONTENT), "epoch": 1, "metrics": {}, "final": True, "run": job, "attempt": 1}
    kept.store(source, [Manifest(key=key, created="", **about)], lambda: None)
    return kept.uris(key)[0]


def test_a_checkpoint_in_a_directory_is_streamed_and_can_be_continued(
    receiver: Receiver, store: Path, tmp_path: Path
) -> None:
    tell(receiver, "a job", put(store, "a job", tmp_path))
    whole = receiver.http.get("/runs/a job/checkpoints/best")
    assert (whole.status_code, whole.content) == (200, CONTENT)
    assert whole.headers["content-length"] == str(len(CONTENT))
    assert whole.headers["etag"] == f'"{SHA256}"'
    assert whole.headers["content-disposition"] == 'attachment; filename="best.pt"'
    part = receiver.http.get("/runs/a job/checkpoints/best", headers={"Range": "bytes=100-", "If-Range": f'"{SHA256}"'})
    assert (part.status_code, part.content) == (206, CONTENT[100:])


def test_the_checksum_of_another_file_is_not_said_of_this_one(receiver: Receiver, store: Path, tmp_path: Path) -> None:
    tell(receiver, "changed", put(store, "changed", tmp_path))
    (store / "checkpoints" / "changed" / "best.pt").write_bytes(b"other")
    answer = receiver.http.get("/runs/changed/checkpoints/best")
    assert (answer.content, SHA256 in answer.headers["etag"]) == (b"other", False)


def test_what_was_uploaded_here_is_had_by_its_own_job(receiver: Receiver) -> None:
    told = receiver.post("/training/jobs/up/checkpoints/upload-url", {"checkpoint_filename": "ü.pt"}).json()
    assert httpx.put(told["upload_url"], content=CONTENT, trust_env=False).status_code == 201
    tell(receiver, "up", told["object_key"])
    answer = receiver.http.get("/runs/up/checkpoints/best")
    assert (answer.status_code, answer.content) == (200, CONTENT)
    tell(receiver, "stranger", told["object_key"])
    assert receiver.http.get("/runs/stranger/checkpoints/best").status_code == 404


ELSEWHERE = (
    "file:///etc/passwd",
    "{store}/../secret",
    "{store}/%2E%2E/secret",
    "{store}/..%2Fsecret",
    "{store}/link",
    "{store}/folder/secret",
    "{store}/",
    "{store}",
    "{store}//etc/passwd",
    "{store}/a%00b",
    "file:secret",
    "/etc/passwd",
    "../secret",
    "checkpoints/job-out/../../signing.key",
    "checkpoints/job-out/",
    "checkpoints/job-out/link",
    "s3://elsewhere/checkpoints/best.pt",
    "http://127.0.0.1:1/best.pt",
)


def test_a_uri_opens_nothing_that_lies_elsewhere(receiver: Receiver, store: Path) -> None:
    (store.parent / "secret").write_text("a word")
    objects = receiver.directory / ".#receiver" / "objects" / "out"
    objects.mkdir(parents=True)
    for link, target in ((store / "link", "secret"), (store / "folder", "."), (objects / "link", "secret")):
        link.symlink_to(store.parent / target)
    uris = [uri.format(store=store.as_uri()) for uri in ELSEWHERE]
    for number, uri in enumerate(uris, 1):
        tell(receiver, "out", uri, f"n{number}", seq=number)
    for number, uri in enumerate(uris, 1):
        answer = receiver.http.get(f"/runs/out/checkpoints/n{number}")
        assert (uri, answer.status_code, uri in answer.json()["detail"]) == (uri, 404, True)


def test_what_no_run_has_is_not_found(receiver: Receiver) -> None:
    tell(receiver, "few", "s3://b/best.pt")
    saved = {"type": "checkpoint_saved", "names": ["last"], "path": "/x/last.pt", "size": 1}
    receiver.post("/training/jobs/few/events", {"events": [envelope("few", 2, saved)]})
    for path, reason in (
        ("few/checkpoints/other", "run 'few' has no checkpoint 'other'"),
        ("few/checkpoints/last", "checkpoint 'last' of run 'few' is in no storage yet"),
        ("none/checkpoints/best", "there is no run none"),
    ):
        answer = receiver.http.get(f"/runs/{path}")
        assert (answer.status_code, answer.json()["detail"]) == (404, reason)


def test_a_checkpoint_in_s3_is_fetched_there_by_a_signed_address(start: Any) -> None:
    with moto_server() as s3:
        receiver = start(
            TRAINER_HOOKS_STORAGE=f"s3://{BUCKET}/pre",
            **s3.environment,
        )
        s3.client().put_object(Bucket=BUCKET, Key="pre/checkpoints/7/best.pt", Body=CONTENT)
        tell(receiver, "7", f"s3://{BUCKET}/pre/checkpoints/7/best.pt")
        answer = receiver.http.get("/runs/7/checkpoints/best")
        assert answer.status_code == 307
        assert s3.secret_key not in answer.headers["location"]
        assert httpx.get(answer.headers["location"], trust_env=False).content == CONTENT
        tell(receiver, "8", f"s3://{BUCKET}/other/best.pt")
        assert receiver.http.get("/runs/8/checkpoints/best").status_code == 404

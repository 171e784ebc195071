"""Uploads at signed addresses, whole or not at all."""

from __future__ import annotations

import stat
from typing import Any

import httpx
import pytest

from tests.receiver.serving import Receiver
from tests.servers.s3 import BUCKET, moto_server

TOKEN = "a-token-of-the-server's-0123456789"


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A receiver that asks for a token."""
    with Receiver(tmp_path_factory.mktemp("objects"), token=TOKEN) as receiver:
        yield receiver


def address(receiver: Receiver, name: str = "best.pt", job: str = "7") -> dict[str, Any]:
    answer = receiver.post(f"/training/jobs/{job}/checkpoints/upload-url", {"checkpoint_filename": name})
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def put(url: str, content: Any) -> int:
    """Without any credential."""
    return httpx.put(url, content=content, trust_env=False, timeout=30).status_code


def test_what_addresses_are_signed_with_is_its_owners_alone(locked: Receiver) -> None:
    address(locked)
    key = locked.directory / ".#receiver" / "signing.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_a_file_is_uploaded_by_nothing_but_its_address(locked: Receiver) -> None:
    told = address(locked)
    assert (told["object_key"], told["expires_in"]) == ("checkpoints/job-7/best.pt", 3600)
    content = b"weights" * 500_000
    assert put(told["upload_url"], iter([content[:1000], content[1000:]])) == 201
    stored = locked.directory / ".#receiver" / "objects" / "7" / "best.pt"
    assert stored.read_bytes() == content
    there = locked.get("/training/jobs/7/checkpoints/best.pt/download-url")
    fetched = httpx.get(there["download_url"], trust_env=False)
    assert (fetched.content == content, fetched.headers["content-disposition"]) == (
        True,
        'attachment; filename="best.pt"',
    )
    assert put(there["download_url"], b"no") == 403
    gone = locked.get("/training/jobs/7/checkpoints/gone.pt/download-url")
    assert httpx.get(gone["download_url"], trust_env=False).status_code == 404
    assert put(told["upload_url"], b"newer") == 201
    assert stored.read_bytes() == b"newer"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("best.pt", "last.pt"),
        ("/7/", "/8/"),
        ("signature=", "signature=0"),
        ("signature=", "signature=%C3%BC"),
        ("expires=", "expires=9"),
        ("expires", "x"),
    ],
)
def test_an_address_that_was_changed_is_worth_nothing(locked: Receiver, old: str, new: str) -> None:
    url = address(locked, job="7")["upload_url"]
    assert put(url.replace(old, new), b"x") in (403, 422)
    assert httpx.get(url, trust_env=False).status_code == 403


def test_an_upload_that_breaks_off_leaves_what_was_there(locked: Receiver) -> None:
    told = address(locked, "kept.pt")
    assert put(told["upload_url"], b"old") == 201

    def broken() -> Any:
        yield b"new"
        raise httpx.ReadError("the sender is gone")

    with pytest.raises(httpx.HTTPError):
        put(told["upload_url"], broken())
    folder = locked.directory / ".#receiver" / "objects" / "7"
    assert (folder / "kept.pt").read_bytes() == b"old"


def test_where_a_store_is_configured_uploads_go_there_directly(start: Any) -> None:
    with moto_server() as s3:
        receiver = start(
            TRAINER_HOOKS_STORAGE=f"s3://{BUCKET}/pre",
            **s3.environment,
        )
        told = address(receiver)
        assert told["upload_url"].startswith(s3.url)
        assert s3.secret_key not in told["upload_url"]
        assert put(told["upload_url"], b"weights") == 200
        stored = s3.client().get_object(Bucket=BUCKET, Key="pre/checkpoints/job-7/best.pt")
        assert stored["Body"].read() == b"weights"
        there = receiver.get("/training/jobs/7/checkpoints/best.pt/download-url")
        assert httpx.get(there["download_url"], trust_env=False).content == b"weights"

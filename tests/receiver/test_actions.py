"""What actions call: models in pieces, data collections, jobs."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.receiver.serving import Receiver
from trainer_hooks.actions.backends import open_backend
from trainer_hooks.errors import BackendRefused, NotInBackend
from trainer_hooks.receiver.tokens import Tokens
from trainer_hooks.settings import Settings

TOKEN = "a-token-of-the-server's-0123456789"
CONTENT = bytes(range(256)) * 40


def announce(receiver: Receiver, content: bytes = CONTENT, key: str | None = None, **changes: Any) -> httpx.Response:
    digest = hashlib.sha256(content).hexdigest()
    body = {"name": "m", "file": "best.pt", "size": len(content), "sha256": digest, "extra": [1], **changes}
    return receiver.post("/trainer-hooks/models", body, **({"Idempotency-Key": key} if key else {}))


def put(receiver: Receiver, model: int, first: int, piece: bytes, size: int = len(CONTENT)) -> httpx.Response:
    headers = {
        "Content-Range": f"bytes {first}-{first + len(piece) - 1}/{size}",
        "Content-Type": "application/octet-stream",
    }
    return receiver.http.put(f"/trainer-hooks/models/{model}/file", content=piece, headers=headers)


def test_a_model_is_complete_when_its_file_is_there_whole_and_verified(shared: Receiver) -> None:
    answer = announce(shared)
    model = answer.json()
    assert (answer.status_code, model["received"], model["complete"], model["extra"]) == (201, 0, False, [1])
    path = f"/trainer-hooks/models/{model['id']}"
    assert put(shared, model["id"], 0, CONTENT[:4000]).json()["received"] == 4000
    assert shared.http.get(f"{path}/file").status_code == 404
    for first in (0, 3999, 5000):
        again = put(shared, model["id"], first, CONTENT[first:4500])
        assert (again.status_code, again.json()["received"]) == (409, 4000)
    assert put(shared, model["id"], 4000, CONTENT[4000:], size=1).status_code == 422
    assert put(shared, model["id"], 4000, CONTENT[4000:]).json()["complete"] is True
    assert put(shared, model["id"], len(CONTENT), b"x").status_code == 409
    assert shared.get(path) == {**model, "received": len(CONTENT), "complete": True}
    whole = shared.http.get(f"{path}/file")
    tag = f'"{hashlib.sha256(CONTENT).hexdigest()}"'
    assert (whole.content, whole.headers["etag"], whole.headers["content-length"]) == (CONTENT, tag, str(len(CONTENT)))
    part = shared.http.get(f"{path}/file", headers={"Range": "bytes=100-", "If-Range": tag})
    assert (part.status_code, part.content) == (206, CONTENT[100:])
    assert part.headers["content-range"] == f"bytes 100-{len(CONTENT) - 1}/{len(CONTENT)}"
    assert shared.http.get(f"{path}/file", headers={"Range": "bytes=100-", "If-Range": '"other"'}).status_code == 200


def test_a_file_that_is_not_the_one_announced_is_to_be_sent_again(shared: Receiver) -> None:
    model = announce(shared).json()["id"]
    assert put(shared, model, 0, b"\0" * len(CONTENT)).status_code == 422
    assert shared.get(f"/trainer-hooks/models/{model}")["received"] == 0
    assert put(shared, model, 0, CONTENT).json()["complete"] is True


def test_the_same_key_is_the_same_model_also_after_a_restart(start: Any) -> None:
    receiver = start()
    first = announce(receiver, key="one")
    assert put(receiver, first.json()["id"], 0, CONTENT[:10]).status_code == 200
    receiver.kill()
    again = start()
    second, other = announce(again, key="one"), announce(again, key="two")
    assert (second.status_code, second.json()) == (200, {**first.json(), "received": 10})
    assert (other.status_code, other.json()["id"]) == (201, first.json()["id"] + 1)
    assert put(again, first.json()["id"], 10, CONTENT[10:]).json()["complete"] is True


@pytest.mark.parametrize(
    "changes", [{"file": "../x"}, {"file": ".."}, {"file": ""}, {"size": 0}, {"sha256": "ab"}, {"name": None}]
)
def test_a_model_that_can_not_be_is_refused(shared: Receiver, changes: dict[str, Any]) -> None:
    assert announce(shared, **changes).status_code == 422


def test_what_is_not_there_is_not_found(shared: Receiver) -> None:
    for path in (
        "models/999",
        "models/x",
        "models/999/file",
        "data-collections/999",
        "data-collections/%2E%2E",
        "jobs/999",
    ):
        assert shared.http.get(f"/trainer-hooks/{path}").status_code == 404, path
    assert put(shared, 999, 0, CONTENT).status_code == 404


def test_the_client_of_actions_puts_models_there_and_gets_them_back(start: Any, tmp_path: Path) -> None:
    receiver = start(token=TOKEN)
    settings = Settings.load(environ={}, backend=receiver.url, token=TOKEN, retry_delay=0.01)
    client = open_backend(settings)
    weights = tmp_path / "best.pt"
    weights.write_bytes(os.urandom((16 << 20) + 4321))
    made = client.create_model({"file": weights, "name": "first", "own": [1]})
    assert made == client.get_model(made["id"])
    assert (made["complete"], made["own"]) == (True, [1])
    (tmp_path / "out").mkdir()
    assert client.fetch_model_file(made, tmp_path / "out").read_bytes() == weights.read_bytes()
    assert client.update_job("a/b", status="RUNNING") == client.get_job("a/b") == {"id": "a/b", "status": "RUNNING"}
    with pytest.raises(NotInBackend):
        client.get_data_collection(8)
    with pytest.raises(BackendRefused, match="401"):
        open_backend(Settings.load(environ={}, backend=receiver.url, token="wrong")).get_job(1)


def test_a_data_collection_is_a_folder_or_what_its_file_says(shared: Receiver) -> None:
    place = shared.directory / ".#receiver" / "data_collections"
    (place / "7").mkdir(parents=True)
    (place / "7" / "data.yaml").write_text("")
    (place / "8.json").write_text(json.dumps({"name": "shapes", "path": "../shapes", "more": 1}))
    seven = shared.get("/trainer-hooks/data-collections/7")
    assert seven == {"id": 7, "name": "7", "data_collection": 7, "path": str(place / "7" / "data.yaml")}
    eight = shared.get("/trainer-hooks/data-collections/8")
    assert (eight["name"], eight["path"], eight["more"]) == ("shapes", str(place / "../shapes"), 1)


def test_a_job_takes_the_values_that_are_named_and_keeps_the_others(shared: Receiver) -> None:
    for changes in ({"status": "RUNNING", "a": 1}, {"status": "SUCCEEDED"}, {"status": "SUCCEEDED"}):
        answer = shared.http.patch("/trainer-hooks/jobs/j%2F1", json=changes)
        assert answer.status_code == 200
    assert shared.get("/trainer-hooks/jobs/j%2F1") == {"id": "j/1", "status": "SUCCEEDED", "a": 1}


def test_a_data_collection_is_made_known_by_a_call(start: Any) -> None:
    receiver = start()
    collections = "/trainer-hooks/data-collections"
    made = receiver.post(collections, {"name": "shapes", "path": "s3://d/shapes", "classes": ["a"]})
    assert (made.status_code, made.json()) == (
        201,
        {"id": 1, "name": "shapes", "data_collection": 1, "path": "s3://d/shapes", "classes": ["a"]},
    )
    assert receiver.get(f"{collections}/1") == made.json()
    assert receiver.post(collections, {"name": "again", "id": 1}).status_code == 409
    named = receiver.post(collections, {"name": "x", "id": "a/../b", "path": "local/data.yaml"}).json()
    folder = receiver.directory / ".#receiver" / "data_collections"
    assert (named["id"], named["path"]) == ("a/../b", str(folder / "local/data.yaml"))
    assert receiver.get(f"{collections}/a%2F..%2Fb") == named
    assert receiver.post(collections, {"name": "next"}).json()["id"] == 2
    for wrong in ({}, {"name": ""}, {"name": "x", "path": 7}, []):
        assert receiver.post(collections, wrong).status_code == 422
    (folder / "10").mkdir()
    told = receiver.get(collections)
    assert ([one["id"] for one in told["records"]], told["total"]) == ([1, 2, 10, "a/../b"], 4)


def test_lists_come_in_parts(start: Any) -> None:
    receiver = start()
    for number in range(1, 13):
        announce(receiver, name=f"model {number}")
        receiver.http.patch(f"/trainer-hooks/jobs/{number}", json={"status": "RUNNING"})
    for path in ("models", "jobs"):
        told = receiver.get(f"/trainer-hooks/{path}", limit=2, offset=9)
        assert ([one["id"] for one in told["records"]], told["total"]) == ([10, 11], 12)
        assert receiver.get(f"/trainer-hooks/{path}", offset=12)["records"] == []
    assert receiver.get("/trainer-hooks/data-collections") == {"records": [], "total": 0}


def test_a_jobs_token_registers_and_uploads_nothing(start: Any) -> None:
    receiver = start(token=TOKEN)
    of_a_job = {"Authorization": f"Bearer {Tokens(TOKEN).of_job('7')}"}
    for path in ("data-collections", "models"):
        assert receiver.post(f"/trainer-hooks/{path}", {}, **of_a_job).status_code == 401
        assert receiver.http.get(f"/trainer-hooks/{path}", headers=of_a_job).status_code == 401

"""Our own receiver's API, as docs/backend.md has it: a model is told once, its file sent in pieces, and verified."""

from __future__ import annotations

import os

import pytest

from tests.disks import small_disk
from tests.servers.platform.faults import Reply
from tests.servers.receiver_models import TOKEN, ReceiverModels
from trainer_hooks.actions.backends import open_backend
from trainer_hooks.actions.backends.receiver import ReceiverBackend
from trainer_hooks.errors import BackendError, BackendRefused, NotInBackend
from trainer_hooks.settings import Settings

_PIECE = 16 << 20
_LOST = Reply(commit_then_drop=True)


@pytest.fixture
def server():
    with ReceiverModels() as server:
        yield server


def opened(server, token=TOKEN):
    return open_backend(Settings.load(environ={}, backend=server.base, token=token, retry_delay=0.01))


@pytest.fixture
def client(server):
    client = opened(server)
    assert isinstance(client, ReceiverBackend)
    return client


@pytest.fixture
def large(tmp_path):
    """A file of two pieces."""
    path = tmp_path / "large.pt"
    path.write_bytes(os.urandom(_PIECE + 4321))
    return path


def test_a_model_goes_there_and_comes_back(server, client, weights, tmp_path):
    made = client.create_model({"file": weights, "category": "base", "checkpoint": 4, "own": [1]})
    assert made == client.get_model(1) == server.models["1"]
    assert (made["category"], made["checkpoint"], made["own"], made["complete"]) == ("base", 4, [1], True)
    (tmp_path / "out").mkdir()
    assert client.fetch_model_file(made, tmp_path / "out").read_bytes() == weights.read_bytes()


def test_data_collections_and_jobs(server, client):
    assert client.get_data_collection(7)["name"] == "shapes"
    server.script([Reply(500), _LOST], "PATCH")
    assert client.update_job("a/b", status="RUNNING") == client.get_job("a/b") == {"id": "a/b", "status": "RUNNING"}
    with pytest.raises(NotInBackend, match=r"there is no 8 .*|there is no 8"):
        client.get_data_collection(8)
    with pytest.raises(NotInBackend, match="can't be an id"):
        client.get_job("..")


def test_the_token_is_told_where_it_is_refused_and_never_shown(server):
    with pytest.raises(BackendRefused, match="mend TRAINER_HOOKS_TOKEN") as caught:
        opened(server, token="wrong-token-88").get_model(1)
    assert "wrong-token-88" not in str(caught.value)


def test_a_token_file_is_read_anew(server, tmp_path):
    (tmp_path / "token").write_text("wrong-token-88")
    client = open_backend(Settings.load(environ={}, backend=server.base, token_file=str(tmp_path / "token")))
    with pytest.raises(BackendRefused):
        client.get_data_collection(7)
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert client.get_data_collection(7)["id"] == 7


@pytest.mark.parametrize("trouble", [Reply(503), Reply(reset=True), _LOST, Reply(hang=True)])
@pytest.mark.parametrize("at", ["POST", "PUT"])
def test_trouble_on_the_way_makes_one_model_whole(server, client, large, trouble, at):
    server.script([trouble], at)
    made = client.create_model({}, file=large)
    assert list(server.models) == ["1"]
    assert bytes(server.files["1"].content) == large.read_bytes()
    assert made["complete"]


def test_a_checksum_that_is_wrong_there_is_an_error(server, client, large):
    real = server.work

    def damaging(method, path, headers, body):
        return real(method, path, headers, body[:-1] + b"x" if method == "PUT" else body)

    server.work = damaging
    with pytest.raises(BackendRefused, match="the checksum is another one") as caught:
        client.create_model({}, file=large)
    assert caught.value.status == 422


def test_a_server_that_takes_no_bytes_is_given_up(server, large):
    client = opened(server)
    client._asking._patience = 0.2
    server.always(Reply(200, b'{"id": 1, "received": 0, "complete": false}'), "PUT")
    with pytest.raises(BackendError, match="has taken none of the bytes from 0 on"):
        client.create_model({}, file=large)


@pytest.mark.parametrize("trouble", [Reply(reset=True), Reply(truncate=True), Reply(503)])
def test_a_download_asks_for_what_is_missing(server, client, weights, tmp_path, trouble):
    made = client.create_model({}, file=weights)
    server.script([trouble], "GET .*/file")
    (tmp_path / "out").mkdir()
    assert client.fetch_model_file(made, tmp_path / "out").read_bytes() == weights.read_bytes()
    ranges = [headers.get("Range") for headers in server.headers[-2:]]
    assert ranges[0] is None
    assert (ranges[1] is not None) == (trouble.status is None)


def test_a_download_with_another_checksum_is_not_given_out(server, client, weights, tmp_path):
    made = client.create_model({}, file=weights)
    server.files["1"].content[5] ^= 1
    (tmp_path / "out").mkdir()
    with pytest.raises(BackendError, match="another checksum"):
        client.fetch_model_file(made, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_full_disk_is_the_callers_own_trouble_and_not_tried_again(server, client, weights, tmp_path):
    made = client.create_model({}, file=weights)
    with small_disk(tmp_path / "disk") as disk:
        (disk.path / "out").mkdir()
        disk.fill()
        with pytest.raises(OSError, match=r"No space left|File too large"):
            client.fetch_model_file(made, disk.path / "out")
        disk.free()
        assert list((disk.path / "out").iterdir()) == []
    assert server.count("GET .*/file") == 1

"""Synapse, by its rules: chunks where its offset says, nothing done twice, no field that it doesn't know."""

from __future__ import annotations

import contextlib
import gzip
import logging
import math
import random
import re
import secrets
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.servers.platform.faults import Reply
from tests.servers.rest import Refusal
from tests.servers.synapse import TOKEN, SynapseServer
from trainer_hooks.actions.archives import pack
from trainer_hooks.actions.backends import open_backend
from trainer_hooks.actions.backends.asking import Asking
from trainer_hooks.actions.backends.http import Http
from trainer_hooks.actions.backends.synapse import SynapseBackend
from trainer_hooks.actions.backends.synapse.upload import ChunkedUpload
from trainer_hooks.destinations.synapse.address import synapse_server
from trainer_hooks.errors import BackendError, BackendRefused, InvalidSetting, NotInBackend
from trainer_hooks.settings import Settings

_LOST = Reply(commit_then_drop=True)


@pytest.fixture
def server():
    with SynapseServer() as server:
        yield server


def asking(server, *, token=TOKEN, patience=20.0, total=5.0):
    settings = Settings.load(environ={}, synapse_host=server.address, synapse_token=token)
    return Asking(Http(synapse_server(settings), total=total), delay=0.01, patience=patience)


@pytest.fixture
def client(server):
    return SynapseBackend(asking(server))


def upload(server, path, **options):
    with pack(path) as packed:
        return ChunkedUpload(asking(server, **options), packed, chunk=1 << 20).send()


def test_a_model_goes_there_and_comes_back(server, client, weights, tmp_path):
    made = client.create_model({"file": weights, "configuration": {"lr": 0.1}, "checkpoint": 4})
    assert made == client.get_model(made["id"]) == server.models[1]
    assert made["name"].startswith("best-")
    assert made["configuration"] == {"lr": 0.1}
    (tmp_path / "out").mkdir()
    fetched = client.fetch_model_file(made, tmp_path / "out")
    assert (fetched.name, fetched.read_bytes()) == ("best.pt", weights.read_bytes())


def test_the_settings_open_it_with_all_their_headers(server):
    environ = {
        "SYNAPSE_HOST": server.address,
        "SYNAPSE_ACCESS_TOKEN": TOKEN,
        "SYNAPSE_PLUGIN_RUN_USER_TOKEN": "user-token",
        "SYNAPSE_PLUGIN_RUN_TENANT": "tenant-1",
    }
    client = open_backend(Settings.load(environ=environ))
    assert client.get_data_collection(7) == {"id": 7, "name": "shapes", "data_collection": 7}
    sent = server.headers[-1]
    assert sent["Authorization"] == "Token user-token"
    assert sent["Synapse-Tenant"] == "Token tenant-1"


def test_fields_that_synapse_does_not_know_are_named_before_anything_is_sent(server, client, weights):
    with pytest.raises(BackendError, match=r"Synapse knows no category, tags of a model; it takes .*name"):
        client.create_model({"file": weights, "category": "base", "tags": []})
    with pytest.raises(BackendError, match="Synapse knows no progress of a job"):
        client.update_job(3, progress=1)
    assert server.asked == []


def test_the_same_name_is_given_to_many_models(server, client, weights):
    for _ in range(2):
        client.create_model({"name": "first"}, file=weights)
    names = [model["name"] for model in server.models.values()]
    assert all(re.fullmatch("first-[0-9a-f]{8}", name) for name in names)
    assert len(set(names)) == 2


def test_what_the_server_refuses_is_told_in_its_own_words(server, client, weights):
    server.always(Reply(400, b'{"plugin": ["unknown"]}'), "POST /models/")
    with pytest.raises(BackendRefused, match="unknown") as caught:
        client.create_model({"plugin": "x"}, file=weights)
    assert caught.value.status == 400


def test_a_job_is_read_and_changed(server, client):
    assert client.update_job(3, status="RUNNING")["status"] == "RUNNING"
    assert client.get_job(3) == server.jobs[3]
    with pytest.raises(NotInBackend, match="Not found"):
        client.get_job(4)


def test_a_token_that_is_not_taken_is_told_at_once_and_not_shown(server):
    client = SynapseBackend(asking(server, token="wrong-token-77"))
    with pytest.raises(BackendRefused, match="mend SYNAPSE_ACCESS_TOKEN") as caught:
        client.get_model(1)
    assert caught.value.status == 401
    assert "wrong-token-77" not in str(caught.value)
    assert len(server.asked) == 1


def test_chunks_follow_each_other(server, weights):
    assert upload(server, weights) == 1
    assert bytes(server.uploads[1].content) == weights.read_bytes()
    assert server.asked == [
        "PUT /chunked_upload/",
        "PUT /chunked_upload/1/",
        "PUT /chunked_upload/1/",
        "POST /chunked_upload/1/",
    ]


@pytest.mark.parametrize(
    "trouble",
    [
        Reply(503, headers={"Retry-After": "0"}),
        Reply(429),
        Reply(500),
        Reply(408),
        Reply(reset=True),
        Reply(truncate=True),
        _LOST,
        Reply(hang=True),
    ],
)
@pytest.mark.parametrize("at", ["PUT /chunked_upload/$", "PUT /chunked_upload/1/$", "PUT /chunked_upload/2/$"])
def test_a_chunk_whose_answer_fails_is_neither_lost_nor_sent_twice(server, weights, trouble, at):
    server.script([trouble], at)
    done = upload(server, weights)
    assert bytes(server.uploads[done].content) == weights.read_bytes()
    assert done in server.completed


def test_where_a_chunk_was_taken_whose_answer_was_lost_the_server_is_asked(server, weights):
    server.script([_LOST], "PUT /chunked_upload/1/$")
    upload(server, weights)
    assert server.asked == [
        "PUT /chunked_upload/",
        "PUT /chunked_upload/1/",
        "GET /chunked_upload/1/",
        "PUT /chunked_upload/1/",
        "POST /chunked_upload/1/",
    ]


def test_a_chunk_that_is_refused_for_good_is_an_error(server, weights):
    server.always(Reply(400, b'{"detail": "no such thing"}'), r"PUT /chunked_upload/1/")
    with pytest.raises(BackendRefused, match="no such thing"):
        upload(server, weights)


@pytest.mark.parametrize("offset", [0, 1 << 20])
@pytest.mark.timeout(20)
def test_a_server_that_never_moves_on_is_given_up(server, weights, offset):
    server.always(Reply(200, b'{"id": 1, "offset": %d}' % offset), "chunked_upload")
    with pytest.raises(BackendError, match=rf"has taken none of the bytes from {offset} on.*; given up after"):
        upload(server, weights, patience=0.3)
    assert server.count("PUT") < 50


@pytest.mark.timeout(20)
def test_a_server_that_always_goes_back_is_given_up(server, weights):
    answers = [Reply(200, b'{"id": 1, "offset": %d}' % offset) for offset in (1 << 20, 0)] * 1000
    server.script(answers, "PUT /chunked_upload")
    server.always(Reply(200, b'{"id": 1, "offset": 0}'), "GET /chunked_upload")
    with pytest.raises(BackendError, match="and wants those from 0; given up after"):
        upload(server, weights, patience=0.3)


@pytest.mark.parametrize("offset", [-1, 1 << 40])
def test_an_offset_outside_of_the_file_is_an_error(server, weights, offset):
    server.always(Reply(200, b'{"id": 1, "offset": %d}' % offset), "PUT")
    with pytest.raises(BackendError, match=f"wants the bytes from {offset} on"):
        upload(server, weights)


def test_a_large_file_is_given_more_time_to_be_put_together(server, tmp_path):
    """25 MiB: the server needs more questions than five."""
    file = tmp_path / "large.pt"
    with file.open("wb") as opened:
        opened.truncate(25 << 20)
    server.finished_uploads_on_asking = 12
    server.script([Reply(504)], "POST /chunked_upload/")
    server.script([_LOST], "POST /chunked_upload/")
    assert upload(server, file) in server.completed
    assert server.count("GET /chunked_upload/") > 12


def test_a_file_that_changes_meanwhile_is_no_model(server, weights):
    with pack(weights) as packed:
        sender = ChunkedUpload(asking(server), packed)
        assert packed.md5
        weights.write_bytes(bytes(packed.size))
        with pytest.raises(BackendRefused, match="md5 checksum does not match"):
            sender.send()
    assert not server.completed


def test_a_file_that_becomes_shorter_meanwhile_is_an_error(server, weights):
    with pack(weights) as packed:
        weights.write_bytes(b"short")
        with pytest.raises(BackendError, match="became shorter while it was sent"):
            ChunkedUpload(asking(server), packed).send()


@pytest.mark.parametrize("still_going_on", [0, 2])
def test_a_lost_answer_to_the_md5_is_asked_for(server, weights, still_going_on):
    server.finished_uploads_on_asking = still_going_on
    server.script([_LOST], "POST /chunked_upload/")
    assert upload(server, weights) in server.completed
    assert server.count("POST /chunked_upload/") == 1
    assert server.count("GET /chunked_upload/1/") == still_going_on + 1


def test_an_md5_that_never_arrived_is_sent_again(server, weights):
    server.script([Reply(hang=True)], "POST /chunked_upload/")
    assert upload(server, weights) in server.completed
    assert server.count("POST /chunked_upload/") == 2
    assert server.count("GET /chunked_upload/1/") >= 5


def test_a_lost_answer_to_a_new_model_is_looked_for_by_its_name(server, client, weights):
    server.script([_LOST], "POST /models/")
    assert client.create_model({"name": "first"}, file=weights) == server.models[1]
    assert server.count("POST /models/") == 1


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_model_that_asking_does_not_find_is_told_again(server, client, weights, status):
    server.script([Reply(status)], "POST /models/")
    assert client.create_model({"name": "first"}, file=weights) == server.models[1]
    assert list(server.models) == [1]
    assert server.count("POST /models/") == 2


def test_somebody_elses_model_is_never_returned(server, weights, monkeypatch):
    """Not even where it is called the same."""
    monkeypatch.setattr(secrets, "token_hex", lambda size: "0" * 2 * size)
    SynapseBackend(asking(server)).create_model({"name": "first"}, file=weights)
    server.always(Reply(502), "POST /models/")
    with pytest.raises(BackendError, match=r"'first-00000000' may be created or not: .* answered 502"):
        SynapseBackend(asking(server, patience=0.2)).create_model({"name": "first"}, file=weights)
    assert list(server.models) == [1]


def test_a_503_after_the_work_makes_one_model(server, client, weights):
    real, troubles = server.work, [503]

    def gone_in_the_middle(method, path, headers, body):
        answer = real(method, path, headers, body)
        if method == "POST" and path == "/models/" and troubles.pop():
            raise Refusal(503, detail="upstream connect error")
        return answer

    server.work = gone_in_the_middle
    assert client.create_model({"name": "first"}, file=weights) == server.models[1]
    assert server.count("POST /models/") == 1


def test_a_model_that_comes_to_be_after_we_have_asked_is_ours(server, client, weights):
    """The first try's work ends between our question and the next try, which is then refused: the name is taken."""
    real, late = server.work, []

    def slow(method, path, headers, body):
        if method == "POST" and path == "/models/" and not late:
            late.append((method, path, headers, body))
            raise Refusal(504, detail="gateway timeout")
        if method == "POST" and path == "/models/" and len(late) == 1:
            late.append(real(*late[0]))
        return real(method, path, headers, body)

    server.work = slow
    assert client.create_model({"name": "first"}, file=weights) == server.models[1]
    assert list(server.models) == [1]


def test_what_was_certainly_not_done_is_asked_for_again(server, client):
    server.script([Reply(425, headers={"Retry-After": "0"}), Reply(429)], "PATCH")
    client.update_job(3, status="RUNNING")
    for status in (502, 503):
        server.script([Reply(status)], "PATCH")
        with pytest.raises(BackendError, match="job 3 may be changed or not"):
            client.update_job(3, status="FAILED")
    assert server.count("PATCH") == 5


def test_retry_after_is_heeded(server, client):
    server.script([Reply(503, headers={"Retry-After": "1"})], "GET")
    began = time.monotonic()
    client.get_job(3)
    assert time.monotonic() - began >= 1


def test_trouble_without_end_ends_and_says_so(server, caplog):
    server.always(Reply(503, b'{"detail": "at lunch"}'), "GET")
    client = SynapseBackend(asking(server, patience=1.0))
    with caplog.at_level(logging.WARNING), pytest.raises(BackendError, match=r"at lunch.*; given up after \d+ tries"):
        client.get_job(3)
    assert "trying again for up to" in caplog.text


def test_a_server_that_drips_its_answer_is_not_waited_for(server):
    server.always(Reply(drip=20), "GET")
    client = SynapseBackend(asking(server, patience=0.1, total=0.5))
    began = time.monotonic()
    with pytest.raises(BackendError, match="gave no whole answer in time"):
        client.get_job(3)
    assert time.monotonic() - began < 5


def test_nobody_there_is_a_clear_error():
    with SynapseServer() as server:
        client = SynapseBackend(asking(server, patience=0.1))
    with pytest.raises(BackendError, match="ConnectError"):
        client.get_job(3)


def test_an_answer_that_is_no_json_asks_whether_the_address_is_right(server, client):
    server.script([Reply(200, b"<html>", content_type="text/html")], "GET")
    with pytest.raises(BackendError, match="is SYNAPSE_HOST right"):
        client.get_job(3)
    server.script([Reply(redirect="https://elsewhere/")], "GET")
    with pytest.raises(BackendError, match="points elsewhere; is SYNAPSE_HOST right"):
        client.get_job(3)


@pytest.mark.parametrize("trouble", [Reply(reset=True), Reply(truncate=True), Reply(503), _LOST])
def test_a_download_goes_on_where_it_broke(server, client, weights, tmp_path, trouble):
    made = client.create_model({"file": weights})
    server.script([trouble, trouble], "GET /media/")
    (tmp_path / "out").mkdir()
    assert client.fetch_model_file(made, tmp_path / "out").read_bytes() == weights.read_bytes()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["best.pt"]


@contextlib.contextmanager
def raw(answer):
    """A server that says these bytes and closes the connection."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve():
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listening.accept()
                with connection:
                    asked = connection.recv(65536)
                    connection.sendall(answer(asked))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()
        listening.close()


def test_a_file_whose_end_nobody_tells_is_not_taken_for_whole(server, tmp_path):
    with raw(lambda _: b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf of it") as address:
        client = SynapseBackend(asking(server))
        with pytest.raises(BackendError, match="nobody can tell whether it is whole"):
            client.fetch_model_file({"id": 1, "file": f"{address}/best.pt"}, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_chunks_is_whole(server, tmp_path):
    told = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\nweights\r\n0\r\n\r\n"
    with raw(lambda _: told) as address:
        fetched = SynapseBackend(asking(server)).fetch_model_file({"id": 1, "file": f"{address}/best.pt"}, tmp_path)
    assert fetched.read_bytes() == b"weights"


def test_a_compressed_download_that_broke_begins_anew(server, tmp_path):
    content = random.Random(1).randbytes(200_000)
    packed, asked = gzip.compress(content), []

    def answer(request):
        asked.append(request)
        head = b'HTTP/1.1 200 OK\r\nETag: "e"\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n' % len(packed)
        return head + (packed[: len(packed) // 2] if len(asked) == 1 else packed)

    with raw(answer) as address:
        fetched = SynapseBackend(asking(server)).fetch_model_file({"id": 1, "file": f"{address}/best.pt"}, tmp_path)
    assert fetched.read_bytes() == content
    assert len(asked) == 2
    assert not any(b"range:" in request.lower() for request in asked)


@pytest.mark.parametrize("address", ["s3://bucket/m.zip", "ftp://x/m.pt", "mailto:x", "http://[bad/m.zip"])
def test_a_file_where_http_can_not_go_is_told_at_once(client, tmp_path, address):
    with pytest.raises(BackendError, match="a file can't be fetched from"):
        client.fetch_model_file({"id": 1, "file": address}, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("status", [200, 204])
def test_an_answer_without_a_word_is_no_model(server, client, status):
    server.always(Reply(status, b""), "GET")
    with pytest.raises(BackendError, match="an empty body, which is no JSON object"):
        client.get_model(1)


def test_the_end_of_an_upload_needs_no_word(server, weights):
    server.always(Reply(204, b""), "POST /chunked_upload/")
    assert upload(server, weights) == 1


def test_what_can_not_be_sent_is_told_before_the_file_is(server, client, weights):
    for value in (math.nan, "\ud800", object()):
        with pytest.raises(BackendError, match="JSON can"):
            client.create_model({"configuration": {"lr": value}}, file=weights)
        with pytest.raises(BackendError, match="JSON can"):
            client.update_job(3, result={"loss": value})
    with pytest.raises(NotInBackend, match="can't be an id"):
        client.get_job("\ud800")
    assert server.asked == []


def test_an_address_that_is_none_is_the_settings_trouble():
    settings = Settings(synapse_host="http://host:abc/")
    with pytest.raises(InvalidSetting, match="SYNAPSE_HOST is"):
        open_backend(settings)


def test_a_model_without_a_file_is_told(client, tmp_path):
    with pytest.raises(NotInBackend, match="model 5 has no file"):
        client.fetch_model_file({"id": 5, "file": None}, tmp_path)


def test_the_tokens_go_to_no_other_host(server, client, tmp_path):
    with SynapseServer() as store:
        store.always(Reply(200, b"weights", content_type="application/octet-stream"), "GET")
        server.script([Reply(redirect=f"{store.address}/media/b.pt")], "GET /media/")
        for address in (f"{store.address}/media/a.pt?signature=1", f"{server.address}/media/1/a.pt"):
            assert client.fetch_model_file({"id": 1, "file": address}, tmp_path).read_bytes() == b"weights"
        assert len(store.headers) == 2
        assert not any(name.lower().startswith("synapse") for headers in store.headers for name in headers)


_UPLOAD = """
import sys
from tests.memory import peak
from trainer_hooks.actions.backends import open_backend
from trainer_hooks.settings import Settings
made = open_backend(Settings.load()).create_model({"file": sys.argv[1]})
print(made["id"], peak(), "pydantic" in sys.modules)
"""


def test_a_large_file_takes_little_memory_and_no_pydantic(server, tmp_path: Path, monkeypatch):
    file = tmp_path / "big.pt"
    with file.open("wb") as opened:
        opened.truncate(120 << 20)
    monkeypatch.setenv("SYNAPSE_HOST", server.address)
    monkeypatch.setenv("SYNAPSE_ACCESS_TOKEN", TOKEN)
    told = subprocess.run([sys.executable, "-c", _UPLOAD, str(file)], capture_output=True, text=True, check=True)
    number, peak, has_pydantic = told.stdout.split()
    assert (number, has_pydantic) == ("1", "False")
    assert int(peak) < 110_000  # kB
    assert server.count("PUT") == 3


def test_it_works_where_a_loop_is_running(client):
    import asyncio

    async def in_a_notebook():
        return client.get_job(3)

    assert asyncio.run(in_a_notebook())["id"] == 3

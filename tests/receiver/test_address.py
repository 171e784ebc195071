"""Behind a proxy, and with a token that changes."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.receiver.serving import Receiver
from tests.receiver.test_guards import serve
from tests.waiting import wait_until

FIRST, SECOND = "the-first-token-0123456789", "the-second-token-0123456789"
URL = "https://runs.example/team/a"


@pytest.fixture
def proxied(tmp_path: Path) -> Any:
    """A receiver that is reached through a proxy, which takes the prefix away."""
    with Receiver(tmp_path / "runs", token=FIRST, TRAINER_HOOKS_SERVE_URL=f"{URL}/") as receiver:
        yield receiver


def test_behind_a_proxy_addresses_are_the_proxys(proxied: Receiver) -> None:
    assert f"CALLBACK_URL={URL}/api/v1\n" in "".join(proxied.said)
    told = proxied.post("/training/jobs/7/checkpoints/upload-url", {"checkpoint_filename": "best.pt"}).json()
    assert told["upload_url"].startswith(f"{URL}/api/v1/objects/7/best.pt?")
    here = told["upload_url"].replace(f"{URL}/api/v1", proxied.url)
    assert httpx.put(here, content=b"x", trust_env=False).status_code == 201
    fetched = proxied.get("/training/jobs/7/checkpoints/best.pt/download-url")["download_url"]
    assert fetched.startswith(f"{URL}/api/v1/objects/7/best.pt?")
    described = proxied.http.get(proxied.url.removesuffix("/api/v1") + "/openapi.json").json()
    assert described["servers"] == [{"url": "/team/a"}]


def test_pages_of_the_proxys_origin_may_change_things_and_others_may_not(proxied: Receiver) -> None:
    for origin, status in (
        ("https://runs.example", 200),
        ("https://runs.example.evil", 403),
        ("https://evil.example", 403),
        ("null", 403),
        ("https://[", 403),
    ):
        answer = proxied.http.post("/jobs/7/cancel", headers={"Origin": origin})
        assert (origin, answer.status_code) == (origin, status)


def test_a_proxy_for_everybody_needs_a_token() -> None:
    refused = serve("--url", URL)
    assert refused.returncode == 2
    assert "--url runs.example can be reached from other machines, and there is no token" in refused.stderr


@pytest.mark.parametrize("url", ["runs.example", "ftp://runs.example", "https://", "https://runs.example/?a=b"])
def test_an_address_that_is_none_is_refused_by_name(url: str) -> None:
    refused = serve("--url", url, token=FIRST)
    assert refused.returncode == 2
    assert re.search(r"serve_url .* is '.*'; write .* as https://host or https://host/prefix", refused.stderr)


def test_a_token_file_is_read_again_when_it_changes(start: Any, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{FIRST}\n")
    receiver = start(TRAINER_HOOKS_SERVE_TOKEN_FILE=str(file))
    first, second = ({"Authorization": f"Bearer {token}"} for token in (FIRST, SECOND))

    def statuses() -> list[int]:
        return [receiver.http.get("/runs", headers=headers).status_code for headers in (first, second, {})]

    assert statuses() == [200, 401, 401]
    file.with_name("new").write_text(SECOND)
    file.with_name("new").replace(file)
    assert statuses() == [401, 200, 401]
    for broken in ("", "short", "with blanks in it, and long enough"):
        file.write_text(broken)
        assert statuses() == [401, 200, 401]
    file.unlink()
    assert statuses() == [401, 200, 401]
    file.write_text(FIRST)
    assert statuses() == [200, 401, 401]
    wait_until(lambda: "the token stays as it was" in "".join(receiver.said), what="a word about it")
    assert SECOND not in "".join(receiver.said)


def test_a_token_that_can_be_read_only_once_stays(start: Any, tmp_path: Path) -> None:
    os.mkfifo(pipe := tmp_path / "pipe")
    writing = threading.Thread(target=pipe.write_text, args=[FIRST])
    writing.start()
    receiver = start(TRAINER_HOOKS_SERVE_TOKEN_FILE=str(pipe))
    writing.join(10)
    headers = {"Authorization": f"Bearer {FIRST}"}
    assert [receiver.http.get("/runs", headers=headers).status_code for _ in range(2)] == [200, 200]

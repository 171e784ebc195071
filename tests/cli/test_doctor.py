"""`trainer-hooks doctor`: each check does the real thing, and no secret is shown."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.cli.parts import COMMAND, invoke
from tests.servers.clearml import ClearMLServer
from tests.servers.platform import PlatformServer, Reply
from tests.servers.s3 import BUCKET, rclone_server
from tests.servers.synapse_jobs import TOKENS, SynapseServer
from trainer_hooks.cli.checks import (
    check_clearml,
    check_dataset_storage,
    check_directory,
    check_platform,
    check_storage,
    check_synapse,
)
from trainer_hooks.settings import Settings

TOKEN = "sesame-open-7351"


def settings(**given: str) -> Settings:
    return Settings.load(environ={}, **given)


@pytest.mark.slow
def test_everything_is_checked_and_no_secret_is_shown(tmp_path: Path) -> None:
    pytest.importorskip("ultralytics")
    token_file = tmp_path / "token"
    token_file.write_text(TOKEN)
    with PlatformServer(batch=True) as server, rclone_server(tmp_path / "s3") as s3:
        server.require_token = TOKEN
        environ = {
            "CALLBACK_URL": server.url.replace("//", "//user:hidden-in-url@"),
            "TRAINER_HOOKS_TOKEN_FILE": str(token_file),
            "TRAINER_HOOKS_STORAGE": f"s3://{BUCKET}/prefix",
            "INTERNAL_STORAGE_ENDPOINT": s3.url,
            "INTERNAL_STORAGE_ACCESS_KEY": s3.access_key,
            "INTERNAL_STORAGE_SECRET_KEY": s3.secret_key,
            "TRAINER_HOOKS_DATASET_STORAGE": tmp_path.as_uri(),
            "DATASET_CACHE_DIR": str(tmp_path / "cache"),
        }
        done = subprocess.run(
            [*COMMAND, "doctor", "--json"], env={**os.environ, **environ}, capture_output=True, text=True, check=False
        )
        left = s3.client().list_objects_v2(Bucket=BUCKET).get("Contents", [])
    assert done.returncode == 0, done.stdout
    told = json.loads(done.stdout)
    found = {check["name"]: check["status"] for check in told["checks"]}
    names = (
        "versions",
        "ultralytics",
        "attaching",
        "directory",
        "platform",
        "storage",
        "dataset storage",
        "dataset cache",
    )
    assert {name: found[name] for name in names} == dict.fromkeys(names, "ok")
    assert told["settings"]["storage_secret_key"] == {"value": "****", "source": "INTERNAL_STORAGE_SECRET_KEY"}
    assert told["settings"]["delivery"] == {"value": "process", "source": "default"}
    assert left == []
    for secret in (TOKEN, "hidden-in-url", s3.access_key, s3.secret_key):
        assert secret not in done.stdout + done.stderr


def test_a_setting_that_can_not_be_used_is_the_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINER_HOOKS_LINGER", "long")
    result = invoke("doctor")
    assert result.exit_code == 1
    assert "setting 'linger' from TRAINER_HOOKS_LINGER can't be 'long'" in result.stdout


def test_a_platform_of_either_kind_is_recognised() -> None:
    with PlatformServer(batch=True) as ours, PlatformServer() as theirs:
        check = check_platform(settings(callback_url=ours.url))
        assert (check.status, check.found) == ("ok", f"{ours.url} speaks trainer-hooks/1")
        check = check_platform(settings(callback_url=theirs.url))
        assert check.status == "ok"
        assert "predecessor B's callbacks" in check.found
        assert {request.method for request in [*ours.requests, *theirs.requests]} == {"GET"}


def test_a_token_that_is_not_taken_is_a_failure() -> None:
    with PlatformServer(batch=True) as server:
        server.require_token = TOKEN
        check = check_platform(settings(callback_url=server.url, token="another-token"))
        assert check.status == "failed"
        assert "401" in check.found
        assert "TRAINER_HOOKS_TOKEN" in check.mend
        assert check_platform(settings(callback_url=server.url, token=TOKEN)).found.endswith("takes the token")


@pytest.mark.parametrize(
    "reply", [Reply(404, body=b"<html>", content_type="text/html"), Reply(200, body=b"<html>"), Reply(500)]
)
def test_what_answers_like_no_platform_is_a_failure(reply: Reply) -> None:
    with PlatformServer() as server:
        server.always(reply)
        check = check_platform(settings(callback_url=server.url))
    assert check.status == "failed"
    assert "CALLBACK_URL" in check.mend


def test_a_platform_that_is_not_there_is_a_failure() -> None:
    check = check_platform(settings(callback_url="http://127.0.0.1:9/api/v1"))
    assert (check.status, "CALLBACK_URL" in check.mend) == ("failed", True)


def test_a_token_file_that_can_not_be_read_is_a_failure(tmp_path: Path) -> None:
    with PlatformServer(batch=True) as server:
        check = check_platform(settings(callback_url=server.url, token_file=str(tmp_path / "none")))
    assert check.status == "failed"
    assert "TRAINER_HOOKS_TOKEN_FILE" in check.found


def test_a_local_storage_is_written_read_and_left_clean(tmp_path: Path) -> None:
    assert check_storage(settings(storage=f"file://{tmp_path}/store")).status == "ok"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("storage", ["file:///proc/no-room-here", "nonsense", "gopher://hole"])
def test_a_storage_that_does_not_work_is_a_failure(storage: str) -> None:
    check = check_storage(settings(storage=storage))
    assert check.status == "failed"
    assert check.mend


def test_a_directory_is_really_written_to_and_not_left_behind(tmp_path: Path) -> None:
    assert check_directory(tmp_path / "not" / "yet").status == "ok"
    assert list(tmp_path.iterdir()) == []
    assert check_directory(Path("/proc/nowhere")).status == "failed"
    (tmp_path / "file").write_text("")
    assert check_directory(tmp_path / "file").status == "failed"


def test_nothing_configured_is_no_failure() -> None:
    assert check_platform(settings()).status == check_storage(settings()).status == "not configured"
    assert check_synapse(settings(synapse_host="http://127.0.0.1:9")).status == "not configured"
    assert check_clearml(settings()).status == check_dataset_storage(settings()).status == "not configured"


def test_the_storage_of_datasets_is_listed(tmp_path: Path) -> None:
    (tmp_path / "store" / "datasets" / "ds_1").mkdir(parents=True)
    store = (tmp_path / "store").as_uri()
    assert "without any datasets" in check_dataset_storage(settings(dataset_storage=store)).found
    (tmp_path / "store" / "datasets" / "ds_1" / "annotations.json").touch()
    assert "with datasets" in check_dataset_storage(settings(dataset_storage=store)).found


def test_a_storage_of_datasets_that_is_not_there_is_a_failure_with_the_mend() -> None:
    given = {"dataset_bucket": "b", "dataset_access_key": "a", "dataset_secret_key": "s"}
    check = check_dataset_storage(settings(**given, dataset_endpoint="http://127.0.0.1:9"))
    assert check.status == "failed"
    assert check.found.startswith("s3://b: ")
    assert "permission to list and get" in check.mend


def test_clearml_is_logged_in_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CLEARML_CONFIG_FILE", str(tmp_path / "none.conf"))
    with ClearMLServer().serving() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        check = check_clearml(settings(clearml=True))
        assert (check.status, check.found) == ("ok", f"logged in; its pages are at {server.url}")
        server.status = 401
        refused = check_clearml(settings(clearml=True))
    assert refused.status == "failed"
    assert "takes no login" in refused.found
    assert "clearml-init" in refused.mend
    assert not server.projects


def test_synapse_is_asked_for_the_job_and_told_nothing() -> None:
    taken = {
        "synapse_token": TOKENS["Synapse-Access-Token"],
        "synapse_user_token": TOKENS["Authorization"],
        "synapse_tenant": TOKENS["Synapse-Tenant"],
    }
    with SynapseServer("j-1", tokens=TOKENS) as server:
        host = {"synapse_host": server.url, "synapse_job": "j-1"}
        check = check_synapse(settings(**host, **taken))
        assert (check.status, check.found) == ("ok", f"{server.url}: job j-1 is PENDING, and the credentials are taken")
        refused = check_synapse(settings(**host, synapse_token=TOKEN))
        assert (refused.status, "SYNAPSE_ACCESS_TOKEN" in refused.mend) == ("failed", True)
        assert TOKEN not in refused.found
        unknown = check_synapse(settings(**{**host, "synapse_job": "../j-1"}, **taken))
        assert (unknown.status, "SYNAPSE_JOB_ID" in unknown.mend) == ("failed", True)
        assert {request.method for request in server.requests} == {"GET"}


def test_a_synapse_that_is_not_there_is_a_failure() -> None:
    check = check_synapse(settings(synapse_host="http://127.0.0.1:9", synapse_job="j-1"))
    assert (check.status, "SYNAPSE_HOST" in check.mend) == ("failed", True)

"""No secrets out: with canaries in every place, every byte that was written, sent or printed is searched for them."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.hosts import scripts
from tests.hosts import ultralytics as host
from tests.servers.platform import PlatformServer, Reply
from tests.servers.synapse_jobs import SynapseServer
from tests.waiting import wait_until
from trainer_hooks.courier.lane import Lane, Terms
from trainer_hooks.delivery import load_rejected, load_state
from trainer_hooks.destinations import Receipt
from trainer_hooks.errors import RetryLater
from trainer_hooks.events import CheckpointSaved, EpochEnded, Logged, Record, RunFailed, RunStarted, Validated
from trainer_hooks.journal import Journal, read_records
from trainer_hooks.redact import Redactor, known_secrets

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.timeout(120)

# Under names of the environment: known by their values, wherever these turn up.
BY_VALUE = {
    "TRAINER_HOOKS_TOKEN": "canary.platform-token.71",
    "INTERNAL_STORAGE_ACCESS_KEY": "CANARYACCESS71",
    "INTERNAL_STORAGE_SECRET_KEY": "canary/storage+secret/71",
    "DB_PASSWORD": "canary horse battery 71",
    "VAULT_TOKEN": "canary.vault.71",
    "SMTP_SECRET": "canary~smtp~71",
    "WEATHER_SERVICE_KEY": "canary0weather1service2key71",
    "CLEARML_API_SECRET_KEY": "canary-clearml-71",
    "AWS_SESSION_TOKEN": "canary//session==71",
    "SYNAPSE_ACCESS_TOKEN": "canary.synapse-access.71",
    "SYNAPSE_PLUGIN_RUN_USER_TOKEN": "canary.synapse-user.71",
    "SYNAPSE_PLUGIN_RUN_TENANT": "canary.synapse-tenant.71",
}
IN_ADDRESSES = {"DATABASE_URL": ("postgresql://ada:{}@db:5432/x", "canary-database-71")}
# Known by what stands beside them alone.
BY_NAME = {
    name: f"canary-{name}-71"
    for name in ("signature", "nested", "assigned", "bearer", "header", "argument", "line", "source", "header2", "url")
}
USERINFO = "canary-userinfo-71"
CANARIES = {
    **BY_VALUE,
    **BY_NAME,
    **{name: secret for name, (_, secret) in IN_ADDRESSES.items()},
    "userinfo": USERINFO,
    "basic": base64.b64encode(f"ada:{USERINFO}".encode()).decode(),
}

SCRIPT = """
import json, logging, os, sys
from pathlib import Path
import trainer_hooks

folder, known, named = Path(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3])
all_known = " ".join(known)
presigned = f"https://b.example/k?X-Amz-Date=1&X-Amz-Signature={named['signature']}"
logging.getLogger().setLevel(logging.INFO)
logging.getLogger().addHandler(logging.NullHandler())
logging.getLogger("trainer_hooks").addHandler(logging.StreamHandler())  # what we say is printed, tracebacks and all
secret_folder = folder / known[3]
secret_folder.mkdir()
weights, image = secret_folder / f"{known[3]}.onnx", secret_folder / f"{known[3]}.png"
weights.write_bytes(b"not a container"), image.write_bytes(b"an image")

def connect(where):
    raise ConnectionError(f"{where}: refused {all_known}")

run = trainer_hooks.start_run(
    run_id="r",
    model=presigned,
    task=known[0],
    output_dir=secret_folder,
    resumed_from=f"https://ada:{named['url']}@host/x.pt",
    params={
        "use_cls_token": True, "num_keypoints": 17, "max_tokens": 512, "tokenizer": "bert",
        "aws_secret_access_key": named["nested"],
        "deep": [{"clients": ({"password": named["nested"]},)}],
        "note": f"password={named['assigned']} and {all_known}",
        "headers": {"Authorization": f"Bearer {named['bearer']}"},
        "pairs": [("X-Api-Key", named["header"])],
        "more": f"Authorization: Basic {named['header2']}",
        "argv": ["train.py", "--api-key", named["argument"]],
        "line": f"train.py --token {named['line']} --epochs 3",
        known[4]: 1,
    },
    dataset={"path": secret_folder, "url": presigned},
    class_names=["cat", known[5], all_known],
)
run.log_metrics({"loss": 0.5, f"{known[6]}/ap": 0.5, known[7]: None, "text": all_known}, epoch=1)
run.log_validation(
    {"map": 0.5}, epoch=1, per_class={known[5]: {"ap": 0.5}}, images={"plot": image}, primary=known[0], task=known[1]
)
run.log_checkpoint(weights, names=["last", known[0]], metrics={known[1]: 1})
run.log_checkpoint(secret_folder / "gone.pt")
run.log_image(image)
run.log(f"calling {all_known} {presigned}", source=known[2], token=named["nested"], data={"k": all_known})
run.progress(1, 2, known[3])
logging.getLogger(known[4]).info("with %s", all_known)
try:
    api_key = "{source}"; connect(presigned)
except ConnectionError as error:
    logging.getLogger("host").info("it failed", exc_info=True)
    trouble = error
run.flush(2)
run.fail(trouble)
"""


class _Refusing(BaseHTTPRequestHandler):
    """An S3 server that refuses, and says what it was sent, as the real one does."""

    def _refuse(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(length)
        quoted = " ".join([BY_VALUE["INTERNAL_STORAGE_ACCESS_KEY"], BY_VALUE["INTERNAL_STORAGE_SECRET_KEY"]])
        body = (
            "<Error><Code>SignatureDoesNotMatch</Code>"
            f"<Message>The signature for {quoted} is wrong; you sent Authorization: {self.headers['Authorization']}"
            f"</Message><AWSAccessKeyId>{quoted}</AWSAccessKeyId></Error>"
        ).encode()
        self.send_response(403)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _refuse  # noqa: N815 - the base's names

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def refusing_store() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Refusing)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


_OF_SYNAPSE = {
    "Synapse-Access-Token": "SYNAPSE_ACCESS_TOKEN",
    "Authorization": "SYNAPSE_PLUGIN_RUN_USER_TOKEN",
    "Synapse-Tenant": "SYNAPSE_PLUGIN_RUN_TENANT",
}
_CREDENTIALS = {name.lower() for name in _OF_SYNAPSE}


def environment(server: PlatformServer | SynapseServer, **more: str) -> dict[str, str]:
    addresses = {name: form.format(secret) for name, (form, secret) in IN_ADDRESSES.items()}
    callback = server.url.replace("http://", f"http://ada:{USERINFO}@")
    settings = {"CALLBACK_URL": callback, "JOB_ID": "7", "TRAINER_HOOKS_FLUSH_TIMEOUT": "20"}
    return {**os.environ, **BY_VALUE, **addresses, **settings, "PYTHONPATH": str(ROOT), **more}


def found_in(text: str | bytes) -> list[str]:
    """The names of the canaries in the text, whichever way it writes them."""
    shown = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    forms = [shown, unquote(shown), shown.replace("\\/", "/"), shown.replace("\\u002b", "+")]
    return [name for name, canary in CANARIES.items() if any(canary in form for form in forms)]


def assert_nothing_written(*folders: Path) -> None:
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 3
    for path in files:
        assert found_in(path.read_bytes()) == [], path
        assert found_in(str(path.name)) == [], path


def assert_nothing_sent(server: PlatformServer | SynapseServer) -> None:
    assert server.requests
    for request in server.requests:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _CREDENTIALS}
        assert found_in(f"{request.path} {headers}") == []
        assert found_in(request.body) == []


def assert_nothing_printed(*processes: subprocess.CompletedProcess[str]) -> None:
    for done in processes:
        assert found_in(done.stdout + done.stderr) == [], done.stdout + done.stderr


def command(environ: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "trainer_hooks.cli", *arguments]
    return subprocess.run(line, env=environ, capture_output=True, text=True, timeout=100, check=False)


def trained(folder: Path, environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    script = folder / "loop.py"
    script.write_text(SCRIPT.replace("{source}", BY_NAME["source"]))
    arguments = [str(folder), json.dumps([*BY_VALUE.values(), CANARIES["DATABASE_URL"]]), json.dumps(BY_NAME)]
    return subprocess.run(
        [sys.executable, str(script), *arguments], env=environ, capture_output=True, text=True, timeout=100, check=False
    )


ECHO = f"no: Authorization: Bearer {BY_VALUE['TRAINER_HOOKS_TOKEN']} Basic {CANARIES['basic']} ada:{USERINFO}"
FAULTS = [
    Reply(401, body=json.dumps({"detail": ECHO}).encode()),
    Reply(500, body=ECHO.encode(), content_type="text/plain"),
    Reply(422, body=json.dumps({"detail": ECHO}).encode()),
    Reply(302, redirect=f"http://ada:{USERINFO}@login.example/?token={BY_VALUE['TRAINER_HOOKS_TOKEN']}"),
]


def told(run: Path, kind: type) -> list:
    return [record.event for record in read_records(run) if isinstance(record.event, kind)]


def assert_all_was_told(run: Path) -> None:
    """Nothing is clean for having been left out, and what only looks like a secret is there."""
    (started,) = told(run, RunStarted)
    assert {name: started.params[name] for name in ("use_cls_token", "num_keypoints", "max_tokens", "tokenizer")} == {
        "use_cls_token": True,
        "num_keypoints": 17,
        "max_tokens": 512,
        "tokenizer": "bert",
    }
    assert started.params["line"] == "train.py --token **** --epochs 3"
    assert started.params["argv"] == ["train.py", "--api-key", "****"]
    assert started.class_names[0] == "cat"
    assert told(run, EpochEnded)[0].metrics == {"loss": 0.5, "****/ap": 0.5}
    assert told(run, Validated)[0].images["plot"].endswith("/****.png")
    assert told(run, CheckpointSaved)[0].names == ["last", "****"]
    assert [event.message.split()[0] for event in told(run, Logged)] == ["calling", "with", "it"]
    (failed,) = told(run, RunFailed)
    assert failed.exception == "ConnectionError"
    assert "in connect" in failed.traceback


def test_a_run_whose_servers_say_back_what_they_were_sent(tmp_path: Path, own_environment: Path) -> None:
    with PlatformServer(jobs=("7",)) as server, refusing_store() as refusing:
        server.script(FAULTS, path="callback")
        storage = {
            "INTERNAL_STORAGE_ENDPOINT": f"http://{refusing}",
            "TRAINER_HOOKS_STORAGE": "s3://bucket/prefix",
        }
        environ = environment(server, **storage, TRAINER_HOOKS_FLUSH_TIMEOUT="3")
        done = trained(tmp_path, environ)
        assert done.returncode == 0, done.stderr
        run = own_environment / "r"
        wait_until(lambda: load_state(run, "checkpoints").trouble, what="the storage's refusal")
        wait_until(lambda: load_state(run, "platform").rejected, what="the platform's refusal")
        shown = command(environ, "runs", "show", "r", "--json")
        others = [
            command(environ, "runs", "show", "r"),
            command(environ, "runs", "export", "r"),
            command(environ, "sync", "--timeout", "2"),
            command({**environ, "INTERNAL_STORAGE_ENDPOINT": f"http://ada:{USERINFO}@{refusing}"}, "sync"),
        ]
        assert_nothing_sent(server)
    assert (run / "delivery" / "platform.rejected.jsonl").exists()
    assert_nothing_written(run)
    assert_nothing_printed(done, shown, *others)
    assert "SignatureDoesNotMatch" in json.loads(shown.stdout)["ledger"]["destinations"][0]["trouble"]
    assert "an error while Reporter.log_checkpoint" in done.stderr
    assert "No such file or directory" in done.stderr
    assert_all_was_told(run)


def test_a_run_that_is_stored_and_delivered_in_batches_by_a_user_and_password(
    tmp_path: Path, own_environment: Path
) -> None:
    store = tmp_path / "store"
    with PlatformServer(jobs=("7",), batch=True) as server:
        server.script(FAULTS[:2])
        environ = environment(server, TRAINER_HOOKS_STORAGE=store.as_uri(), TRAINER_HOOKS_TOKEN="")
        environ["OTHER_TOKEN"] = BY_VALUE["TRAINER_HOOKS_TOKEN"]
        done = trained(tmp_path, environ)
        assert done.returncode == 0, done.stderr
        synced = command(environ, "sync")
        assert synced.returncode == 0, synced.stdout
        assert server.events
        assert any(request.headers.get("authorization", "").startswith("Basic") for request in server.requests)
        assert_nothing_sent(server)
    assert_nothing_written(own_environment, store)
    assert_nothing_printed(done, synced)


@pytest.mark.long
def test_a_run_of_a_synapse_that_says_back_what_it_was_sent(tmp_path: Path, own_environment: Path) -> None:
    tokens = {header: BY_VALUE[variable] for header, variable in _OF_SYNAPSE.items()}
    echo = json.dumps(
        {"detail": f"no: {' '.join(f'{name}: Token {value}' for name, value in tokens.items())}"}
    ).encode()
    with SynapseServer("j-1", tokens=tokens) as server:
        server.script([Reply(status, body=echo) for status in (401, 500, 400)], path="/jobs/")
        environ = environment(
            server,
            CALLBACK_URL="",
            SYNAPSE_HOST=server.url.replace("http://", f"http://ada:{USERINFO}@"),
            SYNAPSE_JOB_ID="j-1",
        )
        done = trained(tmp_path, environ)
        assert done.returncode == 0, done.stderr
        run = own_environment / "r"
        wait_until(lambda: load_state(run, "synapse").delivered and load_rejected(run, "synapse"), what="a refusal")
        shown = [command(environ, "runs", "show", "r"), command(environ, "sync"), command(environ, "doctor")]
        assert server.statuses[-1] == "FAILED"
        assert server.entries("visualization")
        assert_nothing_sent(server)
    assert_nothing_written(run)
    assert_nothing_printed(done, *shown)


class Careless:
    """A destination that quotes what it was given: refuses the first record, and has trouble with the second."""

    waits_for_checkpoints = False

    def deliver(self, records: Sequence[Record]) -> Iterator[Sequence[Receipt]]:
        given = f"{BY_VALUE['VAULT_TOKEN']} {BY_NAME['assigned']}"
        if len(records) > 1:
            yield [Receipt(records[0], refused=f"refused: {given}")]
        message = f"trouble: {given}"
        raise RetryLater(message)

    def close(self) -> None:
        pass


def test_what_a_destination_says_of_its_trouble_is_kept_without_them(
    own_environment: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("VAULT_TOKEN", BY_VALUE["VAULT_TOKEN"])
    journal = Journal(own_environment, run="r", attempt=1, writer="training")
    for epoch in (1, 2):
        journal.append(EpochEnded(epoch=epoch))
    redactor = Redactor([*known_secrets(os.environ), BY_NAME["assigned"]])
    terms = Terms(0.2, lambda _: True, heartbeat=0, liveness=lambda: None, clean=redactor.text)
    lane = Lane(own_environment, "careless", Careless(), (EpochEnded,), terms)
    lane.start()
    wait_until(lambda: load_state(own_environment, "careless").trouble)
    lane.stop()
    lane.join(30)
    state, (rejected,) = load_state(own_environment, "careless"), load_rejected(own_environment, "careless")
    assert (state.trouble, rejected.reason) == ("trouble: **** ****", "refused: **** ****")
    assert found_in(caplog.text) == []


@pytest.mark.framework
def test_a_real_training(tmp_path: Path, own_environment: Path) -> None:
    """Its own words on the screen are the host's; ours, and all that is kept and sent, are searched."""
    folder, store = tmp_path / BY_VALUE["DB_PASSWORD"].replace(" ", "-"), tmp_path / "store"
    with PlatformServer(jobs=("7",), batch=True) as server:
        server.script(FAULTS[:2])
        variables = {**environment(server, TRAINER_HOOKS_STORAGE=store.as_uri()), "DB_PASSWORD": folder.name}
        done = scripts.ended_by(host, folder, "raise", epoch=2, arguments=["--autolog"], environment=variables)
        assert "the user's own error" in done.stderr
        synced = command(variables, "sync")
        assert synced.returncode == 0, synced.stdout
        assert_nothing_sent(server)
    for where in (own_environment, store):
        for path in where.rglob("*"):
            content = path.read_bytes() if path.is_file() and "journal" in str(path.parent) else b""
            assert folder.name.encode() not in content, path
    files = [path for where in (own_environment, store) for path in where.rglob("*.json*")]
    assert len(files) > 3
    for path in files:
        assert found_in(path.read_bytes()) == [], path
    ours = [
        line for line in done.stderr.splitlines() if line.startswith(("trainer_hooks", "  last", "  best", "  run"))
    ]
    assert ours
    assert found_in("\n".join(ours)) == []
    assert folder.name not in "\n".join(ours)
    assert folder.name not in synced.stdout
    assert told(own_environment / "7", RunStarted)[0].output_dir.endswith("/****/out/train")


OPEN_UNTIL_TOLD = """
import sys
import trainer_hooks

with trainer_hooks.start_run() as run:
    run.log_metrics({"loss": 0.5}, epoch=1)
    print("open", flush=True)
    sys.stdin.readline()
"""


def command_lines() -> Iterator[bytes]:
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            yield (process / "cmdline").read_bytes()


def test_whoever_lists_the_processes_of_this_machine(tmp_path: Path, own_environment: Path) -> None:
    with PlatformServer(jobs=("7",), batch=True) as server:
        script = [sys.executable, "-m", "trainer_hooks.cli", "run", "--", sys.executable, "-c", OPEN_UNTIL_TOLD]
        variables = environment(server, TRAINER_HOOKS_STORAGE=(tmp_path / "store").as_uri())
        with subprocess.Popen(
            script, env=variables, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as training:
            assert training.stdout
            assert training.stdout.readline() == "open\n"
            seen = wait_until(lambda: _with_a_courier(own_environment), 30, "the courier among the processes")
            training.communicate("\n", timeout=60)
    assert training.returncode == 0
    assert [line for line in seen if found_in(line)] == []


def _with_a_courier(root: Path) -> list[bytes]:
    lines = list(command_lines())
    return lines if any(b"trainer_hooks.courier" in line and bytes(root) in line for line in lines) else []

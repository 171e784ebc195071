"""Ctrl-C once is an interruption; once more, and the exit waits for nothing: nothing is lost on disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.cli.parts import COMMAND, invoke
from tests.servers.platform import PlatformServer, Reply
from tests.waiting import wait_until
from trainer_hooks.events import TERMINAL, RunInterrupted
from trainer_hooks.journal import read_records

SCRIPT = """
import os, signal
from trainer_hooks import start_run
with start_run(total_epochs=3) as run:
    run.log_metrics({"loss": 1.0}, epoch=1)
    print(os.getpid(), flush=True)
    while True:
        signal.pause()
"""


def is_asleep(pid: int) -> bool:
    """Whether it is in `time.sleep`, which Python 3.10 does by `select`."""
    where = Path(f"/proc/{pid}/wchan").read_text()
    return any(call in where for call in ("nanosleep", "select", "poll_schedule_timeout"))


@pytest.mark.parametrize("above", [(), (*COMMAND, "run", "--")], ids=["alone", "below run"])
def test_a_second_ctrl_c_leaves_at_once_and_loses_nothing(own_environment: Path, above: Sequence[str]) -> None:
    with PlatformServer(jobs=("7",)) as server:
        server.always(Reply(hang=True))
        settings = {"CALLBACK_URL": server.url, "JOB_ID": "7", "TRAINER_HOOKS_FLUSH_TIMEOUT": "300"}
        process = subprocess.Popen(
            [*above, sys.executable, "-c", SCRIPT],
            env={**os.environ, **settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        with process:
            assert process.stdout is not None
            assert process.stderr is not None
            pid = int(process.stdout.readline())
            server.wait_for(lambda server: server.requests)
            os.killpg(process.pid, signal.SIGINT)
            wait_until(lambda: is_asleep(pid), what="the wait at the exit")
            os.killpg(process.pid, signal.SIGINT)
            assert process.wait(20) == -signal.SIGINT
            assert "Send it with: trainer-hooks sync" in process.stderr.read()
        server.normal()
        server.release()
        ended = [record.event for record in read_records(own_environment / "7") if isinstance(record.event, TERMINAL)]
        assert ended == [RunInterrupted(reason="KeyboardInterrupt", epoch=1)]
        wait_until(lambda: invoke("sync", "--timeout", "30").exit_code == 0, what="the delivery of the rest")
        assert server.job("7").status == "failed"


def test_ctrl_c_once_keeps_its_exit_status_though_not_all_is_delivered(own_environment: Path) -> None:
    with PlatformServer(jobs=("7",)) as server:
        server.always(Reply(503))
        settings = {"CALLBACK_URL": server.url, "JOB_ID": "7", "TRAINER_HOOKS_FLUSH_TIMEOUT": "0.1"}
        script = SCRIPT.replace("signal.pause()", "raise KeyboardInterrupt")
        done = subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, **settings},
            capture_output=True,
            text=True,
            check=False,
        )
    assert "not everything is delivered" in done.stderr
    assert done.returncode == -signal.SIGINT
    assert own_environment.exists()

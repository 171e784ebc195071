"""Who a process is and whether it lives: told by more than its pid, which is reused."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest

from tests.waiting import wait_until
from trainer_hooks.events import Process
from trainer_hooks.process import is_alive, this_process

CHILD = """
import sys
import msgspec
from trainer_hooks.process import this_process
print(msgspec.json.encode(this_process()).decode(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def child():
    """A living child, and who it says it is."""
    cwd = Path(__file__).parent.parent
    command = [sys.executable, "-c", CHILD]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=cwd) as process:
        yield process, msgspec.json.decode(process.stdout.readline(), type=Process)
        process.kill()


def changed(process: Process, **fields: object) -> Process:
    return msgspec.structs.replace(process, **fields)


def test_this_process_lives_and_is_always_the_same():
    assert is_alive(this_process()) is True
    assert this_process() == this_process()
    assert this_process().pid == os.getpid()
    found = []
    thread = threading.Thread(target=lambda: found.append(this_process()))
    thread.start()
    thread.join()
    assert found == [this_process()]


def test_a_living_child_lives(child):
    process, identity = child
    assert identity.pid == process.pid
    assert identity != this_process()
    assert is_alive(identity) is True


def test_a_zombie_does_not_live(child):
    process, identity = child
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert "Z" in Path(f"/proc/{process.pid}/stat").read_text()
    assert is_alive(identity) is False


def test_a_dead_and_reaped_child_does_not_live(child):
    process, identity = child
    process.kill()
    process.wait()
    assert is_alive(identity) is False


def test_another_process_with_the_same_pid_is_not_taken_for_it(child):
    _, identity = child
    assert is_alive(changed(identity, started=str(int(identity.started) - 1))) is False


def test_a_process_from_before_the_last_boot_does_not_live():
    assert is_alive(changed(this_process(), boot="another boot")) is False


def test_a_process_of_another_host_or_container_can_not_be_seen():
    assert is_alive(changed(this_process(), host="elsewhere")) is None
    assert is_alive(changed(this_process(), namespace="pid:[1]")) is None


def test_without_a_start_time_the_pid_has_to_do(child):
    process, identity = child
    assert is_alive(changed(identity, started="")) is True
    process.kill()
    process.wait()
    wait_until(lambda: is_alive(changed(identity, started="")) is False)


def test_a_name_with_blanks_and_parentheses_confuses_nobody(tmp_path):
    program = tmp_path / ") Z (a b) 1 2"
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([program, "60"]) as process:
        try:
            wait_until(lambda: ") Z (" in Path(f"/proc/{process.pid}/stat").read_text())
            fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            assert is_alive(changed(this_process(), pid=process.pid, started=fields[19])) is True
        finally:
            process.kill()

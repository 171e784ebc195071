"""`trainer-hooks run` as the command's parent: it can't be told from the command, and it tells how that died."""

from __future__ import annotations

import contextlib
import itertools
import os
import pty
import resource
import shutil
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.parts import COMMAND, invoke, launch
from tests.hosts.processes import is_running
from tests.servers.platform import PlatformServer, Reply
from tests.waiting import wait_until
from trainer_hooks.cli.signals import Sifted
from trainer_hooks.delivery import load_courier
from trainer_hooks.events import TERMINAL, RunFailed, RunInterrupted, RunLost
from trainer_hooks.history import list_runs
from trainer_hooks.journal import read_headers, read_records

PYTHON = sys.executable
RUN = [*COMMAND, "run", "--"]

# Writes down each signal that it gets, on stdout, until SIGRTMIN, which comes after the others.
LISTENER = """
import os, signal, sys
said = lambda number, _: os.write(1, f"{signal.Signals(number).name}\\n".encode())
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGCONT):
    signal.signal(number, said)
signal.signal(signal.SIGRTMIN, lambda *_: sys.exit(7))
os.write(1, f"{os.getpid()}\\n".encode())
while True:
    signal.pause()
"""


@contextlib.contextmanager
def listening(run: list[str] = RUN, **options: Any) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A command that listens, below `trainer-hooks run`, and its pid."""
    command = [*run, PYTHON, "-c", LISTENER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options) as process:
        try:
            assert process.stdout is not None
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


def heard(process: subprocess.Popen[str], count: int = 1) -> list[str]:
    """All that the command has heard, up to its end: so many at least, and what more was sent before its end is."""
    assert process.stdout is not None
    first = [process.stdout.readline() for _ in range(count)]
    process.send_signal(signal.SIGRTMIN)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 7
    return [*"".join(first).split(), *out.split()]


# Signals


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT", "SIGQUIT", "SIGUSR1"])
def test_a_signal_to_the_parent_alone_is_passed_on_once(name: str) -> None:
    with listening(start_new_session=True) as (process, _):
        process.send_signal(signal.Signals[name])
        assert heard(process) == [name]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_to_the_whole_group_reaches_the_command_once(name: str) -> None:
    with listening(start_new_session=True) as (process, _):
        os.killpg(process.pid, signal.Signals[name])
        assert heard(process) == [name]


def test_a_signal_to_each_process_as_of_a_cluster_reaches_the_command_once() -> None:
    with listening(start_new_session=True) as (process, command):
        for pid in (process.pid, *children(process.pid)):
            os.kill(pid, signal.SIGTERM)
        assert command in children(process.pid)
        assert heard(process) == ["SIGTERM"]


def test_a_witness_that_comes_to_run_late_is_waited_for() -> None:
    sifted = Sifted()
    sifted.came(signal.SIGTERM)
    sifted.came(signal.SIGHUP)
    assert not sifted.is_to_ask()
    wait_until(sifted.is_to_ask, what="the question")
    sifted.was_heard(signal.SIGTERM)
    assert sifted.answered() == [signal.SIGHUP]
    assert (sifted.answered(), sifted.wait) == ([], None)


def test_a_witness_that_does_not_answer_keeps_no_signal_back() -> None:
    sifted = Sifted()
    sifted.came(signal.SIGTERM)
    wait_until(sifted.is_to_ask, what="the question")
    assert wait_until(sifted.unanswered) == [signal.SIGTERM]


def test_what_the_witness_heard_of_a_signal_that_was_passed_on_anyway_keeps_no_other_back() -> None:
    sifted = Sifted()
    sifted.was_passed_on(signal.SIGTERM)
    sifted.was_heard(signal.SIGTERM)
    sifted.was_heard(signal.SIGHUP)
    sifted.was_passed_on(signal.SIGHUP)
    sifted.came(signal.SIGTERM)
    sifted.came(signal.SIGHUP)
    wait_until(sifted.is_to_ask, what="the question")
    assert sifted.answered() == [signal.SIGTERM, signal.SIGHUP]


def test_what_the_witness_heard_long_ago_keeps_no_signal_back() -> None:
    sifted = Sifted()
    sifted.was_heard(signal.SIGTERM)
    sifted.came(signal.SIGHUP)
    wait_until(sifted.is_to_ask, what="the question")
    wait_until(sifted.unanswered, what="the end of the wait, and of what is remembered")
    sifted.came(signal.SIGTERM)
    assert sifted.wait is not None


# The signal comes when the relay is there, and the command is not.
EARLY = """
import os, signal
from trainer_hooks.cli.child import Child
from trainer_hooks.cli.stderr import Stderr
class Early(Stderr):
    def for_the_command(self):
        os.killpg(0, signal.SIGTERM)
        return {}
print(Child(("sleep", "60"), dict(os.environ), Early()).wait())
"""


def test_a_signal_to_the_whole_group_before_there_is_the_command_reaches_it() -> None:
    command = [PYTHON, "-c", EARLY]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            out, _ = process.communicate(timeout=30)
        finally:
            process.kill()
    assert out == f"{-signal.SIGTERM}\n"


def test_ctrl_c_reaches_the_command_once() -> None:
    with (
        on_a_terminal() as (terminal, keyboard),
        listening(stdin=terminal, stderr=terminal, preexec_fn=own_the_terminal) as (process, _),
    ):
        os.write(keyboard, b"\x03")
        assert heard(process) == ["SIGINT"]


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    with listening(start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGALRM, signal.SIG_IGN)) as (
        process,
        command,
    ):
        process.send_signal(signal.SIGALRM)
        assert ignores(process.pid, signal.SIGALRM)
        assert ignores(command, signal.SIGALRM)
        assert heard(process, 0) == []


def test_the_commands_end_is_noticed_where_sigchld_was_blocked() -> None:
    def block() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])

    done = subprocess.run([*RUN, "sh", "-c", "exit 5"], preexec_fn=block, timeout=30, check=False)
    assert done.returncode == 5


@pytest.mark.skipif(os.getuid() != 0 or shutil.which("setpriv") is None, reason="only root can become another user")
def test_a_command_that_no_signal_may_be_sent_to_is_waited_for() -> None:
    may_not = ["setpriv", "--bounding-set=-kill", "--inh-caps=-kill"]
    other = ["setpriv", "--reuid=54321", "--clear-groups", "sh", "-c", "echo ready; read _; exit 5"]
    streams: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([*may_not, *RUN, *other], start_new_session=True, **streams) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            process.send_signal(signal.SIGTERM)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(2)
            process.communicate(b"go on\n", timeout=30)
        finally:
            process.kill()
    assert process.returncode == 5


def test_a_killed_parent_takes_the_command_with_it() -> None:
    with listening(start_new_session=True) as (process, command):
        process.kill()
        wait_until(lambda: not is_running(command, "signal"), what="the command's end")


def test_what_stops_the_command_is_seen_to_stop_it_and_it_goes_on() -> None:
    # A group of its own in this session: one that nobody could continue would not be stopped.
    with listening(preexec_fn=os.setpgrp) as (process, command):
        process.send_signal(signal.SIGTSTP)
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        assert state(command) == "T"
        process.send_signal(signal.SIGCONT)
        assert heard(process) == ["SIGCONT"]


def test_in_the_foreground_whatever_stops_the_command_is_seen_through_all_parents() -> None:
    with (
        on_a_terminal() as (terminal, _),
        listening([*RUN, *RUN], stdin=terminal, stderr=terminal, preexec_fn=own_the_terminal) as (process, command),
    ):
        os.kill(command, signal.SIGSTOP)
        wait_until(lambda: os.waitpid(process.pid, os.WUNTRACED | os.WNOHANG)[0], what="the stop")
        assert state(process.pid) == "T"
        os.killpg(process.pid, signal.SIGCONT)
        assert heard(process) == ["SIGCONT"]


def test_where_there_is_no_terminal_who_stops_the_command_alone_continues_it_alone() -> None:
    with listening(start_new_session=True) as (process, command):
        os.kill(command, signal.SIGSTOP)
        wait_until(lambda: state(command) == "T", what="the stop")
        process.send_signal(signal.SIGTERM)
        os.kill(command, signal.SIGCONT)
        assert sorted(heard(process, 2)) == ["SIGCONT", "SIGTERM"]


def test_the_parent_leaves_no_core_dump_and_no_process(tmp_path: Path) -> None:
    with listening(start_new_session=True, cwd=tmp_path) as (process, command):
        others = children(process.pid)
        os.kill(command, signal.SIGSEGV)
        assert process.wait(30) == -signal.SIGSEGV
        wait_until(lambda: not any(is_running(pid, "trainer_hooks") for pid in others), what="the relay's end")
    assert len(list(tmp_path.glob("core*"))) <= 1


# A user who may have one process, and no more; the files of this machine he may read.
WITHOUT_FORK = [
    *("setpriv", "--reuid=54321", "--clear-groups", "--bounding-set=-sys_admin,-sys_resource"),
    *("--inh-caps=+dac_override", "--ambient-caps=+dac_override", "prlimit", "--nproc=1"),
]


@pytest.mark.skipif(os.getuid() != 0 or shutil.which("setpriv") is None, reason="only root can become such a user")
def test_where_no_child_can_be_started_it_becomes_the_command() -> None:
    with subprocess.Popen([*WITHOUT_FORK, *RUN, "sh", "-c", "echo $$; exit 6"], stdout=subprocess.PIPE) as process:
        out, _ = process.communicate(timeout=30)
    assert (process.returncode, int(out)) == (6, process.pid)


# Streams


def test_both_streams_come_out_byte_for_byte() -> None:
    script = (
        "import os; [os.write(stream, os.urandom(1) + bytes(range(256)) * 40) for _ in range(200) for stream in (1, 2)]"
    )
    done = subprocess.run([*RUN, PYTHON, "-c", script], capture_output=True, check=True)
    for written in (done.stdout, done.stderr):
        assert len(written) == 200 * 10241
        assert written[1 : 1 + 10240] == bytes(range(256)) * 40


def test_in_one_stream_the_order_stays() -> None:
    script = "import os; [os.write(1 + number % 2, b'%d\\n' % number) for number in range(2000)]"
    done = subprocess.run([*RUN, PYTHON, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True)
    assert done.stdout.split() == [b"%d" % number for number in range(2000)]


def test_a_file_is_the_commands_own(tmp_path: Path) -> None:
    script = "import os; print(os.fstat(2).st_ino); os.write(2, b'said')"
    with (tmp_path / "errors").open("wb") as file:
        file.write(b"before ")
        file.flush()
        done = subprocess.run([*RUN, PYTHON, "-c", script], stdout=subprocess.PIPE, stderr=file, check=True)
    assert int(done.stdout) == (tmp_path / "errors").stat().st_ino
    assert (tmp_path / "errors").read_bytes() == b"before said"


def test_a_terminal_is_the_commands_own() -> None:
    script = "import os; print(os.isatty(0), os.isatty(2), os.tcgetpgrp(2) == os.getpgrp())"
    with on_a_terminal() as (terminal, _):
        done = subprocess.run(
            [*RUN, PYTHON, "-c", script],
            stdin=terminal,
            stdout=subprocess.PIPE,
            stderr=terminal,
            preexec_fn=own_the_terminal,
            check=True,
        )
    assert done.stdout == b"True True True\n"


@pytest.mark.parametrize("streams", ["3>&1 2>&- <&-", "3>&1 >&- 2>/dev/null", "3>&1 >&- <&-", "3>&1 <&- >&- 2>&-"])
def test_a_stream_that_is_closed_stays_closed(streams: str) -> None:
    script = "import os; os.write(3, repr([os.path.exists(f'/proc/self/fd/{stream}') for stream in range(3)]).encode())"
    command = ["sh", "-c", f'exec "$@" {streams}', "sh", *RUN, PYTHON, "-S", "-c", script]
    alone = ["sh", "-c", f'exec "$@" {streams}', "sh", PYTHON, "-S", "-c", script]
    assert subprocess.check_output(command) == subprocess.check_output(alone)


def test_without_any_stream_a_signal_is_heard_once_and_no_process_is_left(tmp_path: Path) -> None:
    said = tmp_path / "said"
    said.touch()
    listener = (
        f"import os\nfile = os.open({str(said)!r}, os.O_WRONLY)\n{LISTENER.replace('os.write(1,', 'os.write(file,')}"
    )
    command = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *RUN, PYTHON, "-c", listener]
    with subprocess.Popen(command, start_new_session=True) as process:
        try:
            wait_until(lambda: said.read_text().endswith("\n"), what="the command's start")
            others = children(process.pid)
            os.killpg(process.pid, signal.SIGTERM)
            wait_until(lambda: "SIGTERM" in said.read_text())
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(2)
            process.send_signal(signal.SIGRTMIN)
            assert process.wait(30) == 7
        finally:
            process.kill()
    assert len(others) == 2
    wait_until(lambda: not any(is_running(pid, "trainer_hooks") for pid in others), what="the relay's end")
    assert said.read_text().split()[1:] == ["SIGTERM"]


def test_what_others_write_after_the_commands_end_is_passed_on_and_not_waited_for(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    command = [*RUN, "sh", "-c", '(read _ < "$0"; echo late >&2) & echo early >&2; exit 3', str(gate)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        assert process.wait(30) == 3
        assert process.stderr is not None
        assert process.stderr.readline() == b"early\n"
        gate.write_text("go\n")
        assert process.stderr.read() == b"late\n"


def test_a_reader_that_goes_away_is_noticed_by_the_command() -> None:
    command = [*RUN, PYTHON, "-c", "import os\nwhile True: os.write(2, b'x' * 4096)"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        process.stderr.read(4096)
        process.stderr.close()
        assert process.wait(30) == 1  # BrokenPipeError, as without us


def test_a_relay_that_somebody_kills_is_replaced() -> None:
    script = "import os, sys\nfor line in sys.stdin: os.write(2, line.encode() * 20000)"
    command = [*RUN, PYTHON, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write("before\n")
        process.stdin.flush()
        assert [process.stderr.readline() for _ in range(20000)] == ["before\n"] * 20000
        (relay,) = (pid for pid in children(process.pid) if is_running(pid, "trainer_hooks.cli"))
        os.kill(relay, signal.SIGKILL)
        process.stdin.write("after\n")
        process.stdin.close()
        assert process.stderr.read().split() == ["after"] * 20000
        assert process.wait(30) == 0


def test_a_relay_that_cannot_work_is_not_started_again_and_again() -> None:
    script = "import os, sys\nfor line in sys.stdin: os.write(2, line.encode())"
    command = [*RUN, PYTHON, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write("before\n")
        process.stdin.flush()
        assert process.stderr.readline() == "before\n"
        (relay,) = (pid for pid in children(process.pid) if is_running(pid, "trainer_hooks.cli"))
        # The parent has what it takes to start one; the relay has not got one descriptor more.
        limits = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
        taken = {int(path.name) for path in Path(f"/proc/{process.pid}/fd").iterdir()}
        _, second = itertools.islice((number for number in itertools.count() if number not in taken), 2)
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (second + 1, limits[1]))
        began, faults = time.monotonic(), set()

        def relays_that_have_died() -> int:
            faults.add(Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[8])  # of all its dead
            return len(faults) - 1

        os.kill(relay, signal.SIGKILL)
        wait_until(lambda: relays_that_have_died() == 4, what="some that fail")
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, limits)
        assert time.monotonic() - began > 0.9
        process.stdin.write("after\n")
        process.stdin.close()
        assert process.stderr.read() == "after\n"
        assert process.wait(30) == 0


@pytest.mark.skipif(os.getuid() != 0 or shutil.which("unshare") is None, reason="only root can take /proc away")
def test_without_proc_stderr_is_passed_on() -> None:
    without = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs none /proc; exec "$@"', "sh"]
    done = subprocess.run([*without, *RUN, "sh", "-c", "echo said >&2; exit 5"], stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (5, b"said\n")


# As process 1 of a container


FIRST = ["unshare", "--pid", "--fork", "--mount-proc"]


def can_be_the_first() -> bool:
    unshare = shutil.which("unshare")
    return unshare is not None and subprocess.run([*FIRST, "true"], capture_output=True, check=False).returncode == 0


only_as_the_first = pytest.mark.skipif(not can_be_the_first(), reason="no process 1 can be made here")


@contextlib.contextmanager
def the_first_with_a_slow_reader() -> Iterator[subprocess.Popen[bytes]]:
    """`trainer-hooks run` as process 1; its command has written more than its reader's pipe holds, and has ended."""
    script = "import os; os.write(2, b'x' * 100_000); print('ended', flush=True)"
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([*FIRST, *RUN, PYTHON, "-c", script], start_new_session=True, **streams) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ended\n"
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@only_as_the_first
def test_as_process_1_it_waits_until_a_slow_reader_has_everything() -> None:
    with the_first_with_a_slow_reader() as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(2)
        assert process.stderr is not None
        assert len(process.stderr.read()) == 100_000
        assert process.wait(30) == 0


@only_as_the_first
def test_as_process_1_it_waits_for_a_reader_until_somebody_asks_it_to_end() -> None:
    with the_first_with_a_slow_reader() as process:
        (first,) = children(process.pid)
        wait_until(lambda: len(children(first)) == 1, what="the command's end")
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(2)
        os.kill(first, signal.SIGTERM)
        assert process.wait(30) == 0


@only_as_the_first
def test_as_process_1_it_buries_orphans_and_the_command_ends_as_itself(tmp_path: Path) -> None:
    orphans, gate = tmp_path / "orphans", tmp_path / "gate"
    os.mkfifo(gate)
    script = 'for n in 1 2 3 4 5; do (sleep 0.2 & echo $! >> "$0"); done; read _ < "$1"; exit 5'
    command = [*FIRST, *RUN, "sh", "-c", script, str(orphans), str(gate)]
    with subprocess.Popen(command, start_new_session=True) as process:
        try:
            wait_until(lambda: orphans.exists() and len(orphans.read_text().split()) == 5, what="the orphans")
            (first,) = children(process.pid)
            wait_until(lambda: len(children(first)) == 2, what="nothing but the command and the relay")
            gate.write_text("end\n")
            assert process.wait(30) == 5
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


# Deaths

SCRIPT = """
import ctypes, os, signal, sys
from trainer_hooks import start_run
run = start_run(total_epochs=3)
run.log_metrics({"loss": 1.0}, epoch=1)
sys.stderr.write("painted over\\rthe end, password=hunter2222\\n")
sys.stderr.flush()
def crash():
    ctypes.string_at(0)
"""
DEATHS = {
    "crash()": (-signal.SIGSEGV, RunFailed, "FrameworkError", "Fatal Python error: Segmentation fault"),
    "os.abort()": (-signal.SIGABRT, RunFailed, "FrameworkError", "Fatal Python error: Aborted"),
    "import faulthandler; faulthandler.disable(); os.abort()": (
        -signal.SIGABRT,
        RunFailed,
        "FrameworkError",
        "died of SIGABRT",
    ),
    "os.kill(os.getpid(), signal.SIGKILL)": (-signal.SIGKILL, RunLost, None, "killed (SIGKILL)"),
    "os.kill(os.getpid(), signal.SIGUSR1)": (-signal.SIGUSR1, RunInterrupted, None, "SIGUSR1"),
    "os._exit(4)": (4, RunFailed, "UnknownError", "exited with status 4 and without a word"),
    "os._exit(0)": (0, RunInterrupted, None, "the process exited while the run was open"),
    "sys.exit(3)": (3, RunInterrupted, None, "the process exited while the run was open"),
    "raise ValueError('the own error')": (1, RunFailed, "UnknownError", "the own error"),
    "os.kill(os.getpid(), signal.SIGTERM)": (-signal.SIGTERM, RunInterrupted, None, "SIGTERM"),
}


@pytest.mark.parametrize("death", DEATHS)
def test_a_death_is_told_as_what_it_was_and_the_exit_status_is_its_own(own_environment: Path, death: str) -> None:
    status, kind, error, said = DEATHS[death]
    alone = subprocess.run(
        [PYTHON, "-c", SCRIPT + death], env={**os.environ, "TRAINER_HOOKS_MODE": "disabled"}, check=False
    )
    done = launch("--", PYTHON, "-c", SCRIPT + death)
    assert done.returncode == alone.returncode == status
    (terminal,) = terminals(own_environment)
    assert isinstance(terminal, kind)
    assert said in (terminal.message if isinstance(terminal, RunFailed) else terminal.reason)
    assert terminal.epoch == 1
    if isinstance(terminal, RunFailed):
        assert terminal.error == error
        if "ValueError" not in death:
            assert terminal.output == "the end, password=****"
            assert terminal.exit_status == (status if status > 0 else 128 - status)


def test_the_end_of_stderr_is_shown(own_environment: Path) -> None:
    launch("--", PYTHON, "-c", SCRIPT + "os._exit(4)")
    shown = invoke("runs", "show").stdout
    assert "[UnknownError] exit: exited with status 4 and without a word" in shown
    assert "the end of its stderr:\n    the end, password=****\n" in shown
    assert list_runs(own_environment)


def test_the_end_of_a_file_is_told_from_where_the_command_began(own_environment: Path, tmp_path: Path) -> None:
    with (tmp_path / "errors").open("ab") as file:
        file.write(b"of an earlier command\n")
        file.flush()
        subprocess.run([*RUN, PYTHON, "-c", SCRIPT + "os._exit(4)"], stderr=file, check=False)
    (terminal,) = terminals(own_environment)
    assert isinstance(terminal, RunFailed)
    assert terminal.output == "the end, password=****"


def test_of_a_long_stderr_the_end_is_told(own_environment: Path) -> None:
    more = "sys.stderr.write('x' * 99 + '\\n') for _ in range(9000)"
    launch("--", PYTHON, "-c", f"{SCRIPT}[{more}]; sys.stderr.write('the very end'); sys.stderr.flush(); os._exit(4)")
    (terminal,) = terminals(own_environment)
    assert isinstance(terminal, RunFailed)
    assert terminal.output is not None
    assert terminal.output.endswith("x\nthe very end")
    assert 50_000 < len(terminal.output) < 64_000


def test_a_training_further_below_is_left_to_its_courier(own_environment: Path) -> None:
    done = launch("--", "sh", "-c", '"$0" -c "$1"; exit 5', PYTHON, SCRIPT + "os._exit(4)")
    assert done.returncode == 5
    wait_until(lambda: terminals(own_environment), what="the courier's word")
    (terminal,) = terminals(own_environment)
    assert isinstance(terminal, RunLost)
    (run,) = list_runs(own_environment)
    assert read_headers(run)[1].supervisor is None


@contextlib.contextmanager
def a_training(root: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """One that goes on until it is killed, below `trainer-hooks run`, seen by its courier; and its pid."""
    command = [*RUN, PYTHON, "-c", SCRIPT + "signal.pause()"]
    with subprocess.Popen(command, start_new_session=True) as process:
        try:
            (run,) = wait_until(lambda: list(list_runs(root)))
            wait_until(lambda: load_courier(run), what="the courier")
            yield process, read_headers(run)[1].process.pid
        finally:
            process.kill()


def test_where_the_parent_is_killed_the_courier_speaks(own_environment: Path) -> None:
    with a_training(own_environment) as (process, _):
        process.kill()
        wait_until(lambda: terminals(own_environment), what="the courier's word")
    assert [type(event) for event in terminals(own_environment)] == [RunLost]


def test_where_the_parent_is_too_slow_the_courier_speaks_and_it_alone(own_environment: Path) -> None:
    with a_training(own_environment) as (process, command):
        process.send_signal(signal.SIGSTOP)
        os.kill(command, signal.SIGSEGV)
        killed = time.time()
        wait_until(lambda: terminals(own_environment), what="the courier's word")
        assert time.time() - killed > 4.5, "the parent has its time first"
        process.send_signal(signal.SIGCONT)
        assert process.wait(30) == -signal.SIGSEGV
    assert [type(event) for event in terminals(own_environment)] == [RunFailed]


def test_the_parent_waits_for_the_delivery_of_its_word_until_somebody_asks_it_to_end(own_environment: Path) -> None:
    with PlatformServer(jobs=("7",)) as server:
        server.always(Reply(hang=True))
        env = {**os.environ, "CALLBACK_URL": server.url, "JOB_ID": "7", "TRAINER_HOOKS_FLUSH_TIMEOUT": "300"}
        with subprocess.Popen([*RUN, PYTHON, "-c", SCRIPT + "os._exit(4)"], env=env) as process:
            wait_until(lambda: server.requests, what="the courier's first call")
            wait_until(lambda: list(list_runs(own_environment)) and terminals(own_environment), what="the word")
            assert process.poll() is None
            process.send_signal(signal.SIGTERM)
            assert process.wait(5) == 4


def terminals(root: Path) -> list[Any]:
    (run,) = list_runs(root)
    return [record.event for record in read_records(run) if isinstance(record.event, TERMINAL)]


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def ignores(pid: int, number: int) -> bool:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    mask = next(line.split()[1] for line in lines if line.startswith("SigIgn"))
    return bool(int(mask, 16) & 1 << (number - 1))


@contextlib.contextmanager
def on_a_terminal() -> Iterator[tuple[int, int]]:
    """A terminal, and the keyboard that types into it."""
    keyboard, terminal = pty.openpty()
    try:
        yield terminal, keyboard
    finally:
        os.close(keyboard)
        os.close(terminal)


def own_the_terminal() -> None:
    """In the child: lead a session of its own, in the foreground of the terminal that is its input."""
    import fcntl

    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)

"""However a process ends, its open runs are told, and the host's own hooks do what they would have done without us."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.waiting import wait_until
from trainer_hooks.endings import endings
from trainer_hooks.shield import caught, guard


class FakeRun:
    """Notes what it is told, and for how long it kept others waiting."""

    def __init__(self) -> None:
        self.told = []
        self.waited = []
        self.kept = 0.0

    def on_signal(self, name, *, fatal, waited):
        began = time.monotonic()
        self.told.append((name, fatal))
        self.waited.append(waited)
        wait_until(lambda: time.monotonic() >= began + 0.01)
        self.kept = time.monotonic() - began

    def on_uncaught(self, error):
        self.told.append(error)

    def on_exit(self, waited):
        self.waited.append(waited)

    def is_settled(self):
        return True


class BrokenRun(FakeRun):
    """One whose directory is broken."""

    def is_settled(self):
        raise OSError(5, "Input/output error")


@pytest.fixture(autouse=True)
def a_process_of_its_own(monkeypatch):
    """Each test may hang its own hooks; what other tests have left open or hung does not count."""
    handler = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    monkeypatch.setitem(globals(), "endings", type(endings)())
    yield
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def heard():
    """What the host's own handler heard; it is set as long as the test lasts."""
    numbers = []
    signal.signal(signal.SIGTERM, lambda number, _: numbers.append(number))
    return numbers


def in_a_thread(function, *arguments):
    thread = threading.Thread(target=function, args=arguments)
    thread.start()
    thread.join(30)


def chain_sigterm(numbers):
    """As another library does it: note the signal, then call what was there."""
    found = signal.getsignal(signal.SIGTERM)

    def theirs(number, frame):
        numbers.append(number)
        found(number, frame)

    signal.signal(signal.SIGTERM, theirs)
    return theirs


def chain_excepthook(errors):
    found = sys.excepthook

    def theirs(kind, error, trace):
        errors.append(error)
        found(kind, error, trace)

    sys.excepthook = theirs
    return theirs


def uncaught(error):
    sys.excepthook(type(error), error, None)


# SIGTERM


def test_a_signal_is_told_to_the_run_and_to_the_hosts_handler(heard):
    run = FakeRun()
    endings.watch(run)
    signal.raise_signal(signal.SIGTERM)
    endings.forget(run)
    signal.raise_signal(signal.SIGTERM)
    assert run.told == [("SIGTERM", False)]
    assert heard == [signal.SIGTERM] * 2


def test_the_hosts_handler_is_put_back(heard):
    found = signal.getsignal(signal.SIGTERM)
    run = FakeRun()
    endings.watch(run)
    assert signal.getsignal(signal.SIGTERM) is not found
    endings.forget(run)
    assert signal.getsignal(signal.SIGTERM) is found
    assert heard == []


def test_a_library_that_chained_to_an_earlier_runs_handler_is_called_once(heard):
    theirs = []
    first, second, third = FakeRun(), FakeRun(), FakeRun()
    endings.watch(first)
    chain_sigterm(theirs)
    endings.forget(first)
    for run in (second, third):
        endings.watch(run)
        signal.raise_signal(signal.SIGTERM)
        endings.forget(run)
    signal.raise_signal(signal.SIGTERM)
    assert first.told == []
    assert second.told == third.told == [("SIGTERM", False)]
    assert theirs == heard == [signal.SIGTERM] * 3


def test_a_handler_that_is_ignored_by_the_host_stays_so():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    run = FakeRun()
    endings.watch(run)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    endings.forget(run)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


def test_the_handler_is_set_when_a_later_run_is_opened_in_the_main_thread(heard):
    first, second = FakeRun(), FakeRun()
    in_a_thread(endings.watch, first)
    endings.watch(second)
    signal.raise_signal(signal.SIGTERM)
    endings.forget(first)
    endings.forget(second)
    assert first.told == second.told == [("SIGTERM", False)]
    assert heard == [signal.SIGTERM]


def test_runs_that_end_in_another_thread_leave_no_chain_of_handlers(heard):
    for _ in range(sys.getrecursionlimit()):
        run = FakeRun()
        endings.watch(run)
        in_a_thread(endings.forget, run)
    signal.raise_signal(signal.SIGTERM)
    assert run.told == []
    endings.watch(run)
    signal.raise_signal(signal.SIGTERM)
    endings.forget(run)
    assert run.told == [("SIGTERM", False)]
    assert heard == [signal.SIGTERM] * 2


def test_open_runs_share_one_grace(heard):
    runs = [FakeRun(), FakeRun(), FakeRun()]
    for run in runs:
        endings.watch(run)
    signal.raise_signal(signal.SIGTERM)
    for run in runs:
        endings.forget(run)
    assert runs[1].waited[0] >= runs[0].kept > 0
    assert runs[2].waited[0] >= runs[0].kept + runs[1].kept
    assert heard == [signal.SIGTERM]


def test_ctrl_c_in_the_wait_does_not_keep_the_signal_from_the_host(heard):
    class Impatient(FakeRun):
        def on_signal(self, name, *, fatal, waited):  # noqa: ARG002 - as `Ending`'s
            signal.raise_signal(signal.SIGINT)

    run = Impatient()
    endings.watch(run)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
    endings.forget(run)
    assert heard == [signal.SIGTERM]


def test_what_the_hosts_handler_raises_while_we_are_busy_is_the_hosts():
    def handler(*_):
        raise RuntimeError("stop")

    signal.signal(signal.SIGTERM, handler)
    run = FakeRun()
    endings.watch(run)
    with pytest.raises(RuntimeError, match="stop"), guard("saving"):
        signal.raise_signal(signal.SIGTERM)
    endings.forget(run)
    assert run.told == [("SIGTERM", False)]


# Uncaught exceptions


def test_a_library_that_chained_to_an_earlier_runs_excepthook_is_called_once():
    printed, theirs, error = [], [], ValueError("the host's own")
    sys.excepthook = lambda *told: printed.append(told[1])
    first, second, third = FakeRun(), FakeRun(), FakeRun()
    endings.watch(first)
    hook = chain_excepthook(theirs)
    endings.forget(first)
    for run in (second, third):
        endings.watch(run)
        uncaught(error)
        endings.forget(run)
    assert sys.excepthook is hook
    uncaught(error)
    assert first.told == []
    assert second.told == third.told == [error]
    assert theirs == printed == [error] * 3


def test_a_hook_hung_while_a_run_is_open_keeps_its_place():
    theirs, error = [], ValueError("x")
    sys.excepthook = lambda *_: None
    runs = [FakeRun(), FakeRun()]
    endings.watch(runs[0])
    hook = chain_excepthook(theirs)
    endings.watch(runs[1])
    assert sys.excepthook is hook
    uncaught(error)
    for run in runs:
        endings.forget(run)
    assert [run.told for run in runs] == [[error]] * 2
    assert theirs == [error]


# Broken runs


@pytest.mark.swallows
def test_an_earlier_run_that_cannot_tell_whether_it_is_settled_stops_no_new_one():
    broken, run = BrokenRun(), FakeRun()
    endings.watch(broken)
    endings.forget(broken)
    try:
        endings.watch(run)
        endings.forget(run)
        assert endings._leaving == [broken, run]
        assert caught == {"looking after an earlier run: OSError": 1}
    finally:
        endings._leaving.clear()


# Whole processes

SCRIPT = """
import os, signal, sys
from tests.test_endings import FakeRun, chain_excepthook, chain_sigterm
from trainer_hooks.endings import endings

class Speaking(FakeRun):
    def on_signal(self, name, *, fatal, waited):
        print("told", name, fatal, flush=True)
    def on_uncaught(self, error):
        print("told", error, flush=True)

def in_a_child(function):
    child = os.fork()
    if child == 0:
        function()
        raise ValueError("of the child")
    print("child", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)

def die():
    os.kill(os.getpid(), signal.SIGTERM)

def watch():
    run = Speaking()
    endings.watch(run)
    return run
"""


def ended(script: str) -> tuple[int, list[str], str]:
    """The exit status of the script, its lines, and what it says of errors."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT + script],
        cwd=Path(__file__).parent.parent,
        env={**os.environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout.splitlines(), done.stderr


def test_a_process_without_a_handler_dies_of_the_signal_after_the_run_was_told():
    assert ended("watch()\ndie()\n") == (-signal.SIGTERM, ["told SIGTERM True"], "")


def test_a_host_that_decides_itself_when_to_end_lives_on():
    script = "watch()\nendings.leave_to_who_chained()\nchain_sigterm([])\ndie()\nprint('lives')\n"
    assert ended(script) == (0, ["told SIGTERM False", "lives"], "")


def test_until_that_host_has_put_its_own_handler_in_front_the_process_dies():
    script = "watch()\nendings.leave_to_who_chained()\ndie()\n"
    assert ended(script) == (-signal.SIGTERM, ["told SIGTERM True"], "")


def test_after_the_last_run_the_signal_kills_as_ever_through_a_library_that_chained_to_ours():
    script = "run = watch()\nchain_sigterm([])\nendings.forget(run)\ndie()\n"
    assert ended(script) == (-signal.SIGTERM, [], "")


def test_an_uncaught_exception_is_told_and_printed_once_after_a_library_chained_to_ours():
    script = "run = watch()\nchain_excepthook([])\nendings.forget(run)\nwatch()\nraise ValueError('the host')\n"
    status, lines, errors = ended(script)
    assert (status, lines) == (1, ["told the host"])
    assert errors.count("Traceback") == errors.count("ValueError: the host") == 1


def test_a_forked_child_tells_nothing_of_its_parents_run():
    status, lines, errors = ended("watch()\nin_a_child(lambda: None)\nin_a_child(die)\n")
    assert (status, lines) == (0, ["child 1", f"child {-signal.SIGTERM}"])
    assert errors.count("Traceback") == errors.count("ValueError: of the child") == 1


@pytest.mark.parametrize("chain", ["", "chain_excepthook([]); chain_sigterm([])\n"], ids=["alone", "chained"])
def test_a_forked_child_with_a_run_of_its_own_tells_it_once(chain):
    script = f"watch()\n{chain}in_a_child(watch)\nin_a_child(lambda: (watch(), die()))\n"
    status, lines, errors = ended(script)
    told = f"told SIGTERM {not chain}"
    assert (status, lines) == (0, ["told of the child", "child 1", told, f"child {-signal.SIGTERM}"])
    assert errors.count("Traceback") == errors.count("ValueError: of the child") == 1

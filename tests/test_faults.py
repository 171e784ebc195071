"""Crashes below Python leave their stack; what a host does with faulthandler itself is the host's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from trainer_hooks.faults import read_stack

# It opens a run; how it goes on is the argument.
SCRIPT = """
import ctypes, faulthandler, os, signal, sys, threading
from pathlib import Path
from trainer_hooks.faults import stacks
place = Path(sys.argv[1])

def crash():
    ctypes.string_at(0)

def in_a_child(function):
    child = os.fork()
    if child == 0:
        function()
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)

stacks.keep_in(place, 1)
"""


def ended(place: Path, script: str, *options: str) -> tuple[int, str, str]:
    """The exit status of the script, what it printed, and what it said of errors."""
    done = subprocess.run(
        [sys.executable, *options, "-c", SCRIPT + script, place],
        cwd=Path(__file__).parent.parent,
        env={**os.environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("script", "number", "name"),
    [
        ("crash()", signal.SIGSEGV, "Segmentation fault"),
        ("os.abort()", signal.SIGABRT, "Aborted"),
        ("os.kill(os.getpid(), signal.SIGBUS)", signal.SIGBUS, "Bus error"),
        ("os.kill(os.getpid(), signal.SIGFPE)", signal.SIGFPE, "Floating"),
        ("os.kill(os.getpid(), signal.SIGILL)", signal.SIGILL, "Illegal instruction"),
        ("t = threading.Thread(target=crash); t.start(); t.join()", signal.SIGSEGV, "Segmentation fault"),
    ],
)
def test_a_crash_leaves_its_stack_and_dies_of_its_own_signal(
    tmp_path: Path, script: str, number: int, name: str
) -> None:
    status, _, errors = ended(tmp_path, script)
    assert (status, errors) == (-number, "")
    stack = read_stack(tmp_path, 1)
    assert stack is not None
    assert stack.startswith(f"Fatal Python error: {name}")
    assert 'File "<string>"' in stack


def test_nothing_is_left_of_a_run_that_ended_or_of_one_that_was_killed(tmp_path: Path) -> None:
    assert ended(tmp_path, "stacks.release(place, 1); crash()") == (-signal.SIGSEGV, "", "")
    assert list(tmp_path.iterdir()) == []
    assert ended(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)")[0] == -signal.SIGKILL
    assert read_stack(tmp_path, 1) is None


@pytest.mark.parametrize("options", [("-X", "faulthandler"), ()], ids=["before", "later"])
def test_where_the_host_has_enabled_faulthandler_it_stays_the_hosts(tmp_path: Path, options: tuple[str, ...]) -> None:
    later = "" if options else "faulthandler.enable(); "
    status, _, errors = ended(tmp_path, f"{later}crash()", *options)
    assert status == -signal.SIGSEGV
    assert errors.startswith("Fatal Python error: Segmentation fault")
    assert read_stack(tmp_path, 1) is None
    _, out, _ = ended(tmp_path, f"{later}stacks.release(place, 1); print(faulthandler.is_enabled())", *options)
    assert out == "True\n"


def test_after_the_run_faulthandler_is_off_as_it_was(tmp_path: Path) -> None:
    script = "stacks.release(place, 1); print(faulthandler.is_enabled(), len(os.listdir('/proc/self/fd')))"
    without = f"faulthandler.disable(); {script}"
    assert ended(tmp_path, script)[1] == ended(tmp_path, without)[1]
    assert ended(tmp_path, script)[1].startswith("False")


def test_a_second_run_beside_it_takes_nothing_away(tmp_path: Path) -> None:
    status, _, _ = ended(tmp_path, "stacks.keep_in(place, 2); stacks.release(place, 2); crash()")
    assert status == -signal.SIGSEGV
    assert read_stack(tmp_path, 1) is not None
    assert read_stack(tmp_path, 2) is None


def test_a_forked_childs_crash_is_not_its_parents(tmp_path: Path) -> None:
    status, out, _ = ended(tmp_path, "in_a_child(crash); in_a_child(lambda: stacks.release(place, 1)); crash()")
    assert (status, out) == (-signal.SIGSEGV, f"{-signal.SIGSEGV}\n0\n")
    stack = read_stack(tmp_path, 1)
    assert stack is not None
    assert (tmp_path / "fault-1.log").read_text().count("Fatal Python error") == 1


# A C library's handler stands for the host's: of those, Python's own `signal` knows nothing.
HANDLERS = """
libc = ctypes.CDLL(None)
libc.signal.restype = ctypes.c_void_p
libc.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_int)
mended = HANDLER(lambda number: os.write(1, b"mended\\n"))
def mend(number):
    libc.signal(number, ctypes.cast(mended, ctypes.c_void_p))
"""
FATAL = ["SIGSEGV", "SIGFPE", "SIGABRT", "SIGBUS", "SIGILL"]


@pytest.mark.parametrize("name", FATAL)
def test_a_handler_that_the_host_had_before_the_run_stays(tmp_path: Path, name: str) -> None:
    script = f"""
stacks.release(place, 1)
{HANDLERS}
mend(signal.{name})
stacks.keep_in(place, 2)
print(faulthandler.is_enabled(), flush=True)
os.kill(os.getpid(), signal.{name})
stacks.release(place, 2)
os.kill(os.getpid(), signal.{name})
in_a_child(lambda: os.kill(os.getpid(), signal.{name}))
"""
    assert ended(tmp_path, script) == (0, "False\nmended\nmended\nmended\n0\n", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", FATAL)
def test_a_handler_that_the_host_sets_while_a_run_is_open_stays(tmp_path: Path, name: str) -> None:
    script = f"""
{HANDLERS}
mend(signal.{name})
in_a_child(lambda: os.kill(os.getpid(), signal.{name}))
stacks.release(place, 1)
os.kill(os.getpid(), signal.{name})
"""
    assert ended(tmp_path, script) == (0, "mended\n0\nmended\n", "")
    assert list(tmp_path.iterdir()) == []


def test_a_handler_in_python_is_called_after_the_run_and_a_crash_dies_of_its_signal(tmp_path: Path) -> None:
    script = """
signal.signal(signal.SIGABRT, lambda *_: print("called", flush=True))
stacks.release(place, 1)
os.kill(os.getpid(), signal.SIGABRT)
in_a_child(crash)
crash()
"""
    assert ended(tmp_path, script) == (-signal.SIGSEGV, f"called\n{-signal.SIGSEGV}\n", "")
    assert list(tmp_path.iterdir()) == [], "what crashes after the run is no news of it"


def test_a_handler_set_meanwhile_outlives_a_real_run(tmp_path: Path) -> None:
    script = """
stacks.release(place, 1)
import trainer_hooks
run = trainer_hooks.start_run(directory=str(place), delivery="none")
print(faulthandler.is_enabled(), flush=True)
signal.signal(signal.SIGABRT, lambda *_: sys.exit(7))
run.complete()
os.kill(os.getpid(), signal.SIGABRT)
"""
    status, out, _ = ended(tmp_path, script)
    assert (status, out) == (7, "True\n")

"""How the training starts its courier, and how long it waits for it at the end."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import random
import site
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal, Protocol

import msgspec

import trainer_hooks
from trainer_hooks.courier.watch import ProcessWatch
from trainer_hooks.delivery import behind, load_courier, load_state
from trainer_hooks.journal import Cursor, read_headers, sizes
from trainer_hooks.settings import Settings, environment
from trainer_hooks.shield import ask, harmless

_log = logging.getLogger("trainer_hooks")
_POLL = 0.02
_UNREACHED_TIMEOUT = 5.0
_STARTS_WITHIN = 10.0
_SHELL_ENDS_WITHIN = 5.0
_LOG_FILE = "courier.log"


class Delivery(Protocol):
    """Who delivers a run, as seen by the training process."""

    def ensure(self) -> None:
        """Start the courier, or start it again if it has died. Never waits."""
        ...

    def wait(self, position: Cursor, timeout: float) -> bool:
        """Wait until all up to `position`, and what followed from it, is delivered; False if `timeout` came first.

        Where none of those that lack something was ever reached, it waits for 5 s at most; where the courier has ended,
        not at all.
        """
        ...

    def close(self) -> None:
        """Nothing more will come from this process."""
        ...


def start_delivery(run_directory: Path, attempt: int, settings: Settings) -> tuple[Delivery | None, Settings]:
    """The run's delivery as `settings.delivery` wants it, or the next best one that can be started here.

    Returns the settings with what it has become.
    """
    kinds = list(_KINDS)
    for kind in kinds[kinds.index(settings.delivery) :]:
        tried = msgspec.structs.replace(settings, delivery=kind)
        delivery = ask(partial(_started, run_directory, attempt, tried))
        if not isinstance(delivery, Exception):
            return delivery, tried
        _log.warning("no courier can be started as a %s: %s", kind, delivery)
    return None, settings


def wait_for_courier(run_directory: Path, attempt: int, settings: Settings, began: float) -> None:
    """Wait as a training does at its end, for one that is gone: the container may end with the calling process.

    The newest attempt was begun, and then its courier started, at `began` (unix seconds).
    """
    _InProcess(run_directory, attempt, settings, began).wait(sizes(run_directory), settings.flush_timeout)


def _started(run_directory: Path, attempt: int, settings: Settings) -> Delivery:
    # Found out here: the courier is started by way of a shell, which would tell nobody.
    if settings.delivery == "process" and not os.access(sys.executable or "", os.X_OK):
        message = f"{sys.executable!r} can't be executed"
        raise OSError(message)
    delivery: Delivery = _KINDS[settings.delivery](run_directory, attempt, settings)
    delivery.ensure()
    return delivery


class _Nobody:
    """Everything stays in the journal until `trainer-hooks sync`."""

    def __init__(self, run_directory: Path, attempt: int, settings: Settings) -> None:
        self._directory = run_directory
        self._attempt = attempt
        self._settings = settings

    def ensure(self) -> None:
        """There is nobody to start."""

    def wait(self, position: Cursor, timeout: float) -> bool:  # noqa: ARG002 - there is nobody to wait for
        """There is nobody to wait for."""
        return True

    def close(self) -> None:
        """There is nobody to tell."""


class _InProcess(_Nobody):
    """The courier as a process of its own: it outlives this one, whatever happens to it."""

    _watch: ProcessWatch | None = None

    def __init__(self, run_directory: Path, attempt: int, settings: Settings, started_at: float = -math.inf) -> None:
        super().__init__(run_directory, attempt, settings)
        self._started_at = started_at

    def ensure(self) -> None:
        if self._is_working():
            return
        self.close()
        self._watch, self._started_at = None, time.time()
        with (self._directory / _LOG_FILE).open("ab") as log:
            # By way of a shell that ends at once: as nobody's child, the courier is not waited for by a host that waits
            # for all its children, not killed by one that kills them, and leaves it no zombie.
            shell = subprocess.Popen(
                ["/bin/sh", "-c", '"$@" &', "sh", sys.executable, "-m", "trainer_hooks.courier", str(self._directory)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Not here: a file of the user's named like a standard module would be imported in its stead.
                cwd="/",
                # Out of reach of signals to this process group, and of the terminal's.
                start_new_session=True,
                env={**environment(), **self._settings.as_environment(), **_import_path()},
            )
        shell.wait(_SHELL_ENDS_WITHIN)

    def wait(self, position: Cursor, timeout: float) -> bool:
        return _wait_until_delivered(self._directory, self._attempt, position, timeout, self._is_working)

    def _is_working(self) -> bool:
        if self._watch is None:
            courier = load_courier(self._directory)
            # An earlier attempt's ends when it sees this one; and the one just started has yet to announce itself.
            if courier is None or courier.attempt != self._attempt or courier.started < self._started_at:
                return time.time() - self._started_at < _STARTS_WITHIN
            self._watch = ProcessWatch(courier.process)
        return not self._watch.is_gone()

    def close(self) -> None:
        if self._watch is not None:
            self._watch.close()


class _InThread(_Nobody):
    """The courier as a thread of the training, where no process can be started. It ends with the training."""

    _thread: threading.Thread | None = None

    def ensure(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            from trainer_hooks.courier.loop import Courier

            self._load_quietly()
            self._courier = Courier(self._directory, self._settings)
            work = harmless(self._courier.run)
            self._thread = threading.Thread(target=work, name="trainer_hooks courier", daemon=True)
            self._thread.start()

    def _load_quietly(self) -> None:
        """Import what the thread will need here and now, before the training draws random numbers.

        Some libraries draw from the global generator as they are imported; rich does, which httpx imports.
        """
        from trainer_hooks.ledger import configured_destinations

        state = random.getstate()
        try:
            configured_destinations(self._directory, self._directory.name, self._settings)
        finally:
            random.setstate(state)

    def wait(self, position: Cursor, timeout: float) -> bool:
        thread = self._thread
        return thread is not None and _wait_until_delivered(
            self._directory, self._attempt, position, timeout, thread.is_alive
        )

    def close(self) -> None:
        if self._thread is not None:
            self._courier.stop()
            self._thread.join(_UNREACHED_TIMEOUT)


_KINDS: dict[Literal["process", "thread", "none"], type[_Nobody]] = {
    "process": _InProcess,
    "thread": _InThread,
    "none": _Nobody,
}


def _wait_until_delivered(
    run_directory: Path, attempt: int, position: Cursor, timeout: float, is_working: Callable[[], bool]
) -> bool:
    began = time.monotonic()
    while True:
        waited = time.monotonic() - began
        courier = load_courier(run_directory)
        announced = courier is not None and courier.attempt == attempt
        gone = not is_working()  # asked before its states are read: what a courier that is gone has left is its last
        states = [load_state(run_directory, name) for name in courier.destinations] if courier and announced else []
        end = {**_end_of_courier(run_directory, attempt), **position}
        late = [state for state in states if behind(iter([state.cursor]), end)]
        if announced and not late:
            return True
        nobody_there = all(state.reached is None and state.trouble for state in late)
        if gone or waited >= timeout or (waited >= _UNREACHED_TIMEOUT and nobody_there):
            return False
        time.sleep(_POLL)


def _end_of_courier(run_directory: Path, attempt: int) -> Cursor:
    """What the courier itself has written: a stored checkpoint has to be told, too."""
    # In this order: a segment may be opened between the two.
    headers = read_headers(run_directory).items()
    ends = sizes(run_directory)
    return {
        number: ends[number] for number, header in headers if (header.attempt, header.writer) == (attempt, "courier")
    }


def _import_path() -> dict[str, str]:
    """So that the courier finds this package where it isn't installed but only on this process's path."""
    package_root = str(Path(trainer_hooks.__file__).parent.parent)
    with contextlib.suppress(AttributeError):  # virtualenv's own site module of old had no getsitepackages
        if package_root in {*site.getsitepackages(), site.getusersitepackages()}:
            return {}
    there = environment().get("PYTHONPATH")
    return {"PYTHONPATH": f"{there}{os.pathsep}{package_root}" if there else package_root}

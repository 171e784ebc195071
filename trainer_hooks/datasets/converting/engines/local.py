"""On this machine: in processes of their own where there is enough to do, else here.

The processes are programs, not forks: a training's threads would be cut off in the middle of what they do.
"""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Sequence
from typing import IO, Union

import msgspec

from trainer_hooks import errors
from trainer_hooks.datasets.converting.work import run as run_job
from trainer_hooks.datasets.jobs import Job
from trainer_hooks.datasets.report import Report
from trainer_hooks.errors import DatasetError
from trainer_hooks.settings import environment

_TAIL = 2000
# Without the working directory, which `-c` puts first: a file of the user's there may be named as a module is.
_PROGRAM = """
import sys
sys.path[:] = [path for path in sys.path if path]
from trainer_hooks.datasets.converting.worker import main
main(int(sys.argv[1]))
"""


class Done(msgspec.Struct, tag=True):
    """So many more images."""

    images: int


class Failed(msgspec.Struct, tag=True):
    """The job can't be done: `error` is the name of one of ours, or the number of the system's."""

    error: str | int
    message: str
    file: str = ""

    def raised(self) -> Exception:
        """What the job has raised, here."""
        if isinstance(self.error, str):
            kind: type[Exception] = getattr(errors, self.error, DatasetError)
            return kind(self.message)
        return OSError(self.error, self.message, self.file or None)


class Reported(msgspec.Struct, tag=True):
    """The job is done."""

    report: Report


Answer = Union[Done, Failed, Reported]  # noqa: UP007 - msgspec reads it at run time, on Python 3.10 too


def run(jobs: Sequence[Job], workers: int, progress: Callable[[int], object]) -> Generator[Report, None, None]:
    """One job after the other in each worker; with one worker, in this process."""
    if workers <= 1 or len(jobs) <= 1:
        for job in jobs:
            yield run_job(job, progress)
        return
    with _Workers() as at_work:
        at_work.start(min(workers, len(jobs)))
        yield from at_work.do(jobs, progress)


class _Worker:
    """One process: jobs go to its standard input, and answers come by a pipe that nothing else writes to."""

    def __init__(self, number: int, answers: queue.SimpleQueue[tuple[int, Answer | None]]) -> None:
        self._number = number
        self._answers = answers
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - a pipe that nobody reads would stop who writes to it
        ours, theirs = os.pipe()
        command = [sys.executable, "-c", _PROGRAM, str(theirs)]
        variables = environment() | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=self._stderr,
                stderr=self._stderr,
                pass_fds=[theirs],
                env=variables,
            )
        except BaseException:
            os.close(ours)
            self._stderr.close()
            raise
        finally:
            os.close(theirs)
        self._listener = threading.Thread(target=self._listen, args=(os.fdopen(ours, "rb"),), daemon=True)
        self._listener.start()

    def send(self, job: Job) -> None:
        """Give it a job; whether it has died is told by the answers."""
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                send(self._process.stdin, msgspec.msgpack.encode(job))

    def end(self) -> None:
        """Kill it, and leave nothing of it."""
        self._process.kill()
        self._process.wait()
        self._listener.join()
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # the rest of a job that it hasn't read
                self._process.stdin.close()
        self._stderr.close()

    def death(self) -> str:
        """How it ended, and what it said."""
        status = self._process.wait()
        self._stderr.seek(0)
        said = self._stderr.read().decode(errors="replace").strip()[-_TAIL:]
        how = f"by signal {-status}" if status < 0 else f"with exit status {status}"
        return f"a process of the conversion ended {how}{f': {said}' if said else '; is there enough memory?'}"

    def _listen(self, stream: IO[bytes]) -> None:
        decoder = msgspec.msgpack.Decoder(Answer)
        with stream:
            while message := receive(stream):
                self._answers.put((self._number, decoder.decode(message)))
        self._answers.put((self._number, None))


class _Workers:
    def __init__(self) -> None:
        self._answers: queue.SimpleQueue[tuple[int, Answer | None]] = queue.SimpleQueue()
        self._workers: list[_Worker] = []

    def __enter__(self) -> _Workers:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.end()

    def start(self, count: int) -> None:
        """So many processes."""
        for number in range(count):
            self._workers.append(_Worker(number, self._answers))

    def do(self, jobs: Sequence[Job], progress: Callable[[int], object]) -> Generator[Report, None, None]:
        """Yields as jobs are done; raises the first failure."""
        waiting = list(reversed(jobs))
        for worker in self._workers:
            worker.send(waiting.pop())
        missing = len(jobs)
        while missing:
            number, answer = self._answers.get()
            if answer is None:
                raise DatasetError(self._workers[number].death())
            if isinstance(answer, Done):
                progress(answer.images)
            elif isinstance(answer, Failed):
                raise answer.raised()
            else:
                missing -= 1
                if waiting:
                    self._workers[number].send(waiting.pop())
                yield answer.report


def send(stream: IO[bytes], message: bytes) -> None:
    """One message, with its length before it."""
    stream.write(len(message).to_bytes(8, "big") + message)
    stream.flush()


def receive(stream: IO[bytes]) -> bytes:
    """The next message; empty where there is none any more."""
    length = stream.read(8)
    return stream.read(int.from_bytes(length, "big")) if len(length) == 8 else b""  # noqa: PLR2004 - as in `send`

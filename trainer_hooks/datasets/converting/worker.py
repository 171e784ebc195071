"""What a process of a conversion runs: does the jobs that come in on its standard input."""

from __future__ import annotations

import gc
import os
import queue
import sys
import threading
from typing import IO

import msgspec

from trainer_hooks.datasets.converting.engines.local import Answer, Done, Failed, Reported, receive, send
from trainer_hooks.datasets.converting.work import run
from trainer_hooks.datasets.jobs import Job
from trainer_hooks.errors import TrainerHooksError


def main(answers: int) -> None:
    """Until whoever started it is gone, or ends it; answers go to that file descriptor."""
    # What is made here lives until its job is done, and nothing of it refers to itself.
    gc.disable()
    jobs: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(jobs,), daemon=True).start()
    decoder = msgspec.msgpack.Decoder(Job)
    with os.fdopen(answers, "wb") as stream:
        while True:
            _tell(stream, _done(decoder.decode(jobs.get()), stream))
            gc.collect()


def _listen(jobs: queue.SimpleQueue[bytes]) -> None:
    # Not through sys.stdin: Python would wait for its lock at the end.
    with os.fdopen(os.dup(sys.stdin.fileno()), "rb") as stream:
        while message := receive(stream):
            jobs.put(message)
    # At once, in the middle of a job: the next conversion removes what this one was building.
    os._exit(0)


def _done(job: Job, stream: IO[bytes]) -> Answer:
    try:
        return Reported(run(job, lambda images: _tell(stream, Done(images))))
    except TrainerHooksError as error:
        return Failed(type(error).__name__, str(error))
    except OSError as error:
        return Failed(error.errno or 0, error.strerror or str(error), str(error.filename or ""))


def _tell(stream: IO[bytes], answer: Answer) -> None:
    send(stream, msgspec.msgpack.encode(answer))

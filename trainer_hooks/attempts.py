"""Which run and which attempt this process is: new, the next attempt of an earlier one, or one beside another."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import logging
import os
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import msgspec

from trainer_hooks.deaths import Death, learn
from trainer_hooks.events import AnyEvent, Process, Record, RunLost, RunStarted, SegmentOpened
from trainer_hooks.files import remove_leftovers, write_whole
from trainer_hooks.history import RunState, list_runs
from trainer_hooks.journal import Journal, Reader, owner, read_headers
from trainer_hooks.last_word import claiming, recent_state, say_claimed
from trainer_hooks.process import is_alive, local_name, parent_process, this_process
from trainer_hooks.redact import Redactor, known_secrets
from trainer_hooks.settings import Settings, environment, launch_id, supervisor_name

TRAINING = "training"
"""Who writes the segments that an attempt begins with."""
_log = logging.getLogger("trainer_hooks")
_RUN_FILE = "run.json"
_CLAIM_WITHIN = 5.0
_HEAD = 10
_NEWEST = 50
_LONGEST_NAME = 150
_DIGEST = 16
_ORIGIN = 4
_WITHOUT_JOB = {"job_id": None, "callback_url": None, "synapse_job": None}


@dataclass(frozen=True)
class Claim:
    """A run directory with a segment of this process's own in it.

    `settings` are the given ones, less the platform where the job belongs to another run.
    """

    directory: Path
    run: str
    attempt: int
    journal: Journal
    settings: Settings


@dataclass(frozen=True)
class _Before:
    """What a claim is to know of the attempts before it.

    `after` is one that is known of from elsewhere; `resuming`: it goes on from the one before; `alone`: no other
    process is claiming, or saying the last word on the one before.
    """

    after: int
    resuming: bool
    alone: bool


def claim_somewhere(settings: Settings, resumed: str | None = None, *, after: int = 0) -> Claim | None:
    """`claim` in the settings' directory, else, with a warning, among the temporary files; None if neither will do."""
    places: dict[str, Callable[[], Path]] = {
        settings.directory: lambda: settings.root,
        "a temporary directory": _temporary_root,
    }
    for place, find_root in places.items():
        try:
            root = find_root()
            claimed = claim(root, msgspec.structs.replace(settings, directory=str(root)), resumed, after=after)
        except OSError as error:
            _log.warning("runs can't be kept in %s: %s", place, error)
            continue
        if (claimed.settings.job_id, claimed.settings.synapse_job) != (settings.job_id, settings.synapse_job):
            _log.warning(
                "job %s is another training's: this one is kept as run %s, and not told to the platform",
                settings.job_id or settings.synapse_job,
                claimed.run,
            )
        return claimed
    _log.warning("no directory can be written: this run is not recorded")
    return None


def claim(root: Path, settings: Settings, resumed: str | None = None, *, after: int = 0) -> Claim:
    """Make this process the next attempt of the run that it continues, or the first of a new one.

    The run is named by the settings (`run_id`, `job_id`, `synapse_job`, the first that is set), or is the one that
    `resumed` names; else it is new.
    `after` is an earlier attempt that is known of from elsewhere: the disk may have begun empty since.
    Where that run is at work in another live process, or was finished by this very process, this is a run beside it,
    with a number behind its name and without the job: the platform hears one voice.

    Raises:
        OSError: if the root can't be written.
    """
    wanted = settings.run_id or settings.job_id or settings.synapse_job or resumed or new_run_id()
    for number in range(1, 1000):
        run = wanted if number == 1 else f"{wanted}-{number}"
        directory = root / safe_name(run)
        own = settings if number == 1 else msgspec.structs.replace(settings, **_WITHOUT_JOB)
        directory.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as held:
            alone = False
            with contextlib.suppress(TimeoutError):  # who holds it so long is stuck: `_is_first` has to do then
                held.enter_context(claiming(directory, _CLAIM_WITHIN))
                alone = True
                remove_leftovers(directory)
            before = _Before(after=after if number == 1 else 0, resuming=resumed is not None, alone=alone)
            claimed = _claim_directory(directory, run, own, before)
        if claimed is not None:
            return claimed
    message = f"there are too many runs named {wanted!r} in {root}"
    raise OSError(message)


def join(directory: Path, attempt: int, writer: str, settings: Settings) -> Claim:
    """A segment of its own in another process's attempt, for a process that works for that one.

    Raises:
        OSError: if the segment can't be written.
    """
    header = owner(read_headers(directory), attempt)
    journal = Journal.beside(directory, header, writer)
    journal.limit_to(settings.journal_limit)
    return Claim(directory, header.run, attempt, journal, settings)


def find_launched(settings: Settings) -> tuple[Path, int] | None:
    """The run directory, and the attempt, of this launch's main process, if that is still at work; else None."""
    launch = launch_id()
    for root in (settings.root, _temporary_root()) if launch else ():
        for directory in itertools.islice(list_runs(root), _NEWEST):
            main = owner(read_headers(directory))
            if main.launch == launch and is_alive(main.process) is not False:
                return directory, main.attempt
    return None


def find_supervised(settings: Settings) -> Iterator[tuple[Path, SegmentOpened]]:
    """The runs that a child of this process has opened, each with the header of its newest attempt."""
    this = this_process()
    for root in (settings.root, _temporary_root()):
        for directory in itertools.islice(list_runs(root), _NEWEST):
            headers = read_headers(directory)
            if headers and owner(headers).supervisor == this:
                yield directory, owner(headers)


def find_run_by_output(root: Path, output_dir: str) -> str | None:
    """The newest run that wrote into that output folder of the host's; for a resume that names only a checkpoint."""
    for directory in list_runs(root):
        for record in Reader(directory).read(_HEAD, only=(SegmentOpened, RunStarted)):
            if isinstance(record, Record) and getattr(record.event, "output_dir", None) == output_dir:
                return record.run
    return None


def safe_name(run: str) -> str:
    """The run's id as a directory name: nothing in it can lead out of its place, and no two ids share one."""
    name = quote(run, safe=" +=@,", errors="surrogatepass")
    if not name.strip("."):
        name = name.replace(".", "%2E")
    if len(name) > _LONGEST_NAME:
        digest = hashlib.sha256(name.encode()).hexdigest()[:_DIGEST]
        name = f"{name[: _LONGEST_NAME - _DIGEST - 1]}-{digest}"
    return name


def load_addresses(directory: Path) -> dict[str, str]:
    """Where a run is to be delivered to, as it was when the run began; empty if that isn't known."""
    try:
        addresses: dict[str, str] = msgspec.json.decode((directory / _RUN_FILE).read_bytes())
    except (FileNotFoundError, msgspec.MsgspecError):
        return {}
    return addresses


def began_at(directory: Path) -> float:
    """When the newest attempt was begun, in unix seconds.

    Raises:
        FileNotFoundError: where no attempt has.
    """
    return (directory / _RUN_FILE).stat().st_mtime


def new_run_id() -> str:
    """An id that no other run has: when it is made, and a few random digits."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"


def _temporary_root() -> Path:
    # Asked only when it is needed: where no temporary directory can be written, that is an error, too.
    return Path(tempfile.gettempdir()) / f"trainer_runs-{os.getuid()}"


def _claim_directory(directory: Path, run: str, settings: Settings, before: _Before) -> Claim | None:
    headers = read_headers(directory)
    newest = _newest_ended(directory, headers, before) if headers else 0
    if newest is None:
        return None
    attempt = max(newest, before.after) + 1
    origin = owner(headers).origin if headers else secrets.token_hex(_ORIGIN)
    journal = Journal(
        directory,
        run=run,
        attempt=attempt,
        writer=TRAINING,
        job=settings.job_id,
        launch=launch_id(),
        origin=origin,
        supervisor=_supervisor(),
    )
    if not _is_first(directory, attempt, journal):
        journal.close()
        return None
    journal.limit_to(settings.journal_limit)
    write_whole(directory / _RUN_FILE, msgspec.json.encode(settings.addresses()))
    return Claim(directory, run, attempt, journal, settings)


def _supervisor() -> Process | None:
    """The `trainer-hooks run` that this process is a child of; one further above can't see how this one ends."""
    named = supervisor_name()
    parent = parent_process() if named else None
    return parent if parent and local_name(parent) == named else None


def _newest_ended(directory: Path, headers: Mapping[int, SegmentOpened], known: _Before) -> int | None:
    """The number of the newest attempt, now brought to an end if nobody has ended it; None if the run is not free.

    A second training in one process is a run of its own, unless it resumes the first. Where this process is not
    alone, the last word on the attempt before is left to the one that is at it.
    """
    before = owner(headers)
    newest = before.attempt
    ended = recent_state(directory, newest).ended is not None
    lives = is_alive(before.process)
    finished_here = ended and before.process == this_process() and not known.resuming
    if finished_here or (not ended and lives):
        return None
    if not ended and known.alone:
        death = learn(directory, newest, Redactor(known_secrets(environment())))
        say_claimed(directory, before, "recovery", lambda state: _ended(death, state, seen=lives is False))
    return newest


def _ended(death: Death, state: RunState, *, seen: bool) -> AnyEvent:
    event = death.as_event(state)
    if not isinstance(event, RunLost):
        return event
    gone = "its process was gone" if seen else "its process, on another host or in another container, had not ended it"
    return msgspec.structs.replace(event, reason=f"{gone} when the next attempt began")


def _is_first(directory: Path, attempt: int, journal: Journal) -> bool:
    """Whether no other process has claimed the same attempt a moment earlier: the lower segment has it.

    Matters where no lock could be had.
    """
    (mine,) = journal.position
    same = (number for number, header in read_headers(directory).items() if header.attempt == attempt)
    return min(same) == mine

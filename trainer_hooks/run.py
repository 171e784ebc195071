"""The run: what a training job tells, through this one object; and which process may speak at all.

Integrations and hand-written loops use the same `Run`. Nothing in it raises for a reason of delivery or of the disk,
and nothing in it waits, but for the bounded wait at the process's exit. Which process speaks is decided in `open_run`,
and nowhere else: in a distributed job only the main process gets a run that is heard.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType
from typing import Any, get_args

import msgspec

from trainer_hooks.attempts import Claim, claim_somewhere, find_launched, join, load_addresses
from trainer_hooks.clearml_task import check_installed, find_task, hold_back_copies
from trainer_hooks.courier.start import Delivery, start_delivery
from trainer_hooks.endings import endings
from trainer_hooks.errors import ErrorType, InvalidSetting
from trainer_hooks.events import (
    TERMINAL,
    AnyEvent,
    EpochEnded,
    ErrorKind,
    Operation,
    RankFailed,
    RunCompleted,
    RunFailed,
    RunInterrupted,
    RunStarted,
    SignalReceived,
)
from trainer_hooks.failures import describe
from trainer_hooks.faults import stacks
from trainer_hooks.history import read_history, state_of
from trainer_hooks.journal import owner, read_headers, read_records
from trainer_hooks.last_word import recent_state
from trainer_hooks.logs import LogForwarder, clean_own_words
from trainer_hooks.metrics import read_count
from trainer_hooks.process import is_alive, this_process
from trainer_hooks.redact import Redactor, known_secrets
from trainer_hooks.reporter import Reporter
from trainer_hooks.restore import Restored, named_run, newest_checkpoint, restore
from trainer_hooks.settings import Settings, environment, main_process_rank, run_above, told_to_children
from trainer_hooks.shield import attempt, guard, harmless, resuming
from trainer_hooks.staging import IMAGES, MOST_IMAGES, Stager
from trainer_hooks.stopping import agree_to_stop, agreed_to_stop, asked_to_stop
from trainer_hooks.storage import check_storage
from trainer_hooks.summary import print_delivery, print_summary
from trainer_hooks.trainings import goes_on, next_training

_log = logging.getLogger("trainer_hooks")
# Kubernetes gives 30 s between SIGTERM and SIGKILL; the host needs some of them for itself.
_GRACE_ON_SIGTERM = 20.0
# A host that dies of a signal's making does so within this; what it survives is not to blame for what comes later.
_DIES_WITHIN = 60.0
# Epochs of milliseconds exist, and asking for the courier costs as much as telling one.
_LOOK_EVERY = 1.0
_RANK = "rank "
_OTHERS = {operation: set(get_args(Operation)) - {operation} for operation in get_args(Operation)}
_FOR_COPIES = ("storage", "clearml", "synapse")
"""The beginnings of settings that say of what private copies are to be made."""
_UNTOLD = "what was said of it could not be told"


class Run(Reporter):
    """One attempt at one run. Open it with `start_run` or let an integration do it; end it once.

    As a context manager it ends by itself: completed, or failed or interrupted by what leaves the block.
    A run without a claim is silent: everything may be called, nothing is told.
    """

    def __init__(self, claimed: Claim | None, settings: Settings) -> None:
        self.settings = claimed.settings if claimed else settings
        self.checkpoint: Restored | None = None
        """What this attempt goes on from, with `resume="auto"`; None where it begins anew."""
        self.takes_in_trainings = False
        """Whether frameworks' trainings are told as part of this run while it is open (see `surrounding_run`)."""
        self._training_goes_on_from: Restored | None = None
        redactor = Redactor([*known_secrets(environment()), *self.settings.secrets()])
        if claimed:
            clean_own_words(redactor.text)
        super().__init__(redactor, _stager(claimed) if claimed else None)
        self._claim = claimed
        self._pid = os.getpid()
        self._ending = threading.RLock()  # a signal handler may end the run while this very thread ends it
        self._ended = self._hurried = False
        self._stop: str | None = None
        self._signal: str | None = None
        self._signalled = 0.0
        self._began = time.monotonic()
        self._logs = (
            LogForwarder(self._forward_log, settings.log_level) if claimed and settings.log_level != "OFF" else None
        )
        self._looked = -math.inf
        self._delivery: Delivery | None = None
        self._let_clearml_go: Callable[[], None] | None = None
        if claimed:
            self._delivery = self._begin(claimed)

    def _begin(self, claimed: Claim) -> Delivery | None:
        attempt("looking for a ClearML task", self._join_clearml)  # before the courier would make one
        self._stage_images(claimed.directory, are_taken=self._images_are_taken)
        delivery = self._start_delivery(claimed)
        attempt("watching how the process ends", endings.watch, self)
        attempt("having crashes leave their stack", stacks.keep_in, claimed.directory, claimed.attempt)
        attempt("forwarding logs", self.forward_logs, "")
        return delivery

    def _join_clearml(self) -> None:
        task = find_task() if self.settings.clearml is not False else None
        if task is not None:
            self.emit(task)
            self._let_clearml_go = hold_back_copies(checkpoints=self.settings.storage_uri is not None)
            _log.info("mirrored to the script's ClearML task %s; its copies of TensorBoard's are held back", task.id)

    def _start_delivery(self, claimed: Claim) -> Delivery | None:
        delivery, self.settings = start_delivery(claimed.directory, claimed.attempt, claimed.settings)
        self._claim = dataclasses.replace(claimed, settings=self.settings)
        return delivery

    @property
    def id(self) -> str | None:
        """The run's id; None for a silent run."""
        return self._claim.run if self._claim else None

    @property
    def attempt(self) -> int:
        """Which attempt at the run this is, from 1."""
        return self._claim.attempt if self._claim else 1

    @property
    def directory(self) -> Path | None:
        """Where the run is kept; None for a silent run."""
        return self._claim.directory if self._claim else None

    @property
    def is_over(self) -> bool:
        """Whether the run has ended."""
        return self._ended

    @property
    def is_mirrored(self) -> bool:
        """Whether ClearML is to show the run, too."""
        return self._claim is not None and (bool(self.settings.clearml) or "clearml" in self.state.linked)

    @property
    def _images_are_taken(self) -> bool:
        """Whether there is a destination that takes copies of images, or removes them as unwanted."""
        settings = self.settings
        return self.is_mirrored or bool(settings.callback_url or (settings.synapse_host and settings.synapse_job))

    def _stage_images(self, directory: Path, *, are_taken: bool) -> None:
        most = None if are_taken else MOST_IMAGES
        self._image_stager = Stager(directory, keep_all=True, folder=IMAGES, most=most)

    @property
    def is_heard(self) -> bool:
        """Whether what is told now goes anywhere: not in a silent run, after the end, or in a forked child."""
        return self._claim is not None and not self._ended and os.getpid() == self._pid

    @harmless
    def started(self, **details: Any) -> None:
        """Tell that the work begins, and from where it goes on; `details` are the fields of `RunStarted`.

        Where it has been told before, what was said then still holds as far as it is not said anew.
        """
        before = self.state.started
        if before is not None:
            if self._redactor.word(details.get("operation")) in _OTHERS[before.operation]:
                return  # a test within a training, say: it belongs to that
            details = self._told_again(before, details)
        if self._goes_on_from is not None:
            point = {"epoch": self._goes_on_from.epoch, "iteration": self._goes_on_from.iteration}
            details = {"resumed_from": str(self._goes_on_from.path), **point, **details}
        super().started(**details)

    def _told_again(self, before: RunStarted, details: dict[str, Any]) -> dict[str, Any]:
        said = {name: value for name, value in details.items() if value is not None}
        known = msgspec.structs.asdict(before)
        for name in ("resumed_from", "epoch", "iteration"):  # of the training before
            del known[name]
        return {
            **known,
            **said,
            "params": {**before.params, **self._redactor.mapping(details.get("params"))},
            "trainings": before.trainings + (self.takes_in_trainings and "framework" in said),
        }

    def emit(self, event: AnyEvent) -> None:
        """Accept an event: when this returns, no death of the process can lose it. After the end, none is accepted."""
        with guard("emitting an event"):
            if self._claim is None or not self.is_heard:
                return
            if isinstance(event, TERMINAL):
                with self._ending:
                    if not self._ended:
                        self._claim.journal.append(event)
                        self._ended = True
            else:
                self._claim.journal.append(event)
            self.state.apply(event)
            if isinstance(event, EpochEnded):
                self._look_after_the_courier()

    def _look_after_the_courier(self) -> None:
        now = time.monotonic()
        if self._delivery and now - self._looked >= _LOOK_EVERY:
            self._looked = now
            self._delivery.ensure()

    @property
    def stop_reason(self) -> str | None:
        """Why the run is to stop, as `should_stop` has found it."""
        return self._stop

    @property
    def should_stop(self) -> bool:
        """Whether the platform wants the training to stop: to be asked at the end of an epoch, and then to be obeyed.

        In a loop of several ranks all have to stop at the same point: ask `should_stop_together` there.

        A run that has been told so, and completes before its last epoch or iteration, ends as interrupted.
        """
        if self._stop is None and self._claim is not None and self.is_heard:
            self._stop = asked_to_stop(self._claim.directory, self.attempt)
        return self._stop is not None

    def should_stop_together(self, done: int, step: int) -> bool:
        """As `should_stop`, for each of several ranks on one machine that have to leave their loops at the same point.

        To be asked by all of them after the same `step` epochs or iterations, `done` of which are finished.
        """
        with guard("asking whether to stop"):
            place = self._place()
            if place is None:
                return False
            at = agreed_to_stop(*place)
            if at is None and self.should_stop:
                agree_to_stop(*place, done + step)
            return at is not None and done >= at
        return False

    def _place(self) -> tuple[Path, int] | None:
        """The directory and the attempt of the run that this process belongs to."""
        return (self._claim.directory, self.attempt) if self._claim else None

    def _has_obeyed(self) -> bool:
        """Whether a training that completes was asked to stop and has done so, rather than coming to its own end.

        Ranks ask for themselves; what the launching process knows is that its epochs are not all done.
        """
        knows_its_end = self.state.done[2] is not None
        heard = self.should_stop if knows_its_end else self._stop is not None
        return heard and not self.state.is_finished

    def checkpoint_for_training(self) -> Restored | None:
        """What the framework's training that begins now, within this run, goes on from; None where it begins anew.

        Raises:
            CannotResume: if the run's checkpoint is of another training, which has begun after this one had; or whose
                it is can't be found out.
        """
        self._training_goes_on_from = None
        if self.checkpoint is None or self._claim is None:
            return None
        with resuming():  # a history that can't be read is no reason to begin anew
            attempts = read_history(self._claim.directory).attempts
            earlier = [training for one in attempts if one.number < self.attempt for training in one.state.trainings]
            begun = self.state.trainings
            if goes_on(next_training(begun, self.state.workflow.current), begun, earlier):
                self._training_goes_on_from = self.checkpoint
        return self._training_goes_on_from

    @property
    def _goes_on_from(self) -> Restored | None:
        """What is told as that; in a run that takes trainings in, each of them has its own."""
        return self._training_goes_on_from if self.takes_in_trainings else self.checkpoint

    def resume_best(self, epoch: int) -> None:
        """Know what was best in earlier attempts, up to that epoch: a resumed training need not improve on it."""
        if self._claim is None:
            return
        with guard("looking for the best so far"):
            for earlier in read_history(self._claim.directory).attempts:
                best = earlier.state.best_epoch
                if best is not None and best <= epoch:
                    self.state.best_epoch, self.state.best_metrics = best, earlier.state.best_metrics
            told = self.checkpoint.best if self.checkpoint else None
            if self.state.best_epoch is None and told is not None:  # the disk began empty; storage remembers
                self.state.best_epoch, self.state.best_metrics = told.epoch, told.metrics

    def note_iteration(self, done: int | None) -> None:
        """So many iterations are finished, where no event has told it: its end tells how far the work was."""
        self.state.iteration = max(self.state.iteration, done or 0)

    def hand_over(self) -> tuple[str, int] | None:
        """From now on, another process of this job tells in this one's stead: what `join_run` needs there.

        This process still opens and ends the run: with what the other has told, and with its failure if it failed.
        None for a silent run.
        """
        if self._claim is None:
            return None
        return str(self._claim.directory), self._claim.attempt

    @contextlib.contextmanager
    def heard_by_children(self) -> Iterator[None]:
        """Within this block, runs of processes that this one starts are told as part of this one (see `open_run`)."""
        with told_to_children(self._claim.directory, self.attempt) if self._claim else contextlib.nullcontext():
            yield

    def let_host_end_the_process(self) -> None:
        """Where the host's own handler of SIGTERM calls the one it has found, it is the host that ends the process.

        For a host that goes on after that signal until it has come to a good place to stop.
        """
        if self.is_heard:
            endings.leave_to_who_chained()

    def forward_logs(self, logger: str | logging.Logger) -> None:
        """Forward this logger's records, too; the root's are forwarded from the start (see `log_level`)."""
        if self._logs:
            self._logs.listen(logger)

    def training_completed(self, metrics: Mapping[str, Any] | None = None) -> None:
        """A framework's training is over: so is the run, unless the training was part of it."""
        if not self.takes_in_trainings:
            self.complete(metrics)

    def training_ended_with(self, error: BaseException) -> None:
        """A framework's training was left by this error: so is the run, unless the training was part of it."""
        if not self.takes_in_trainings:
            self.end_with(error)

    def complete(
        self,
        metrics: Mapping[str, Any] | None = None,
        *,
        checkpoints: Mapping[str, str] | None = None,
        result: Mapping[str, Any] | None = None,
    ) -> None:
        """End the run: it has done what it should. Final metrics are those of the last epoch if none are given."""

        def tell() -> AnyEvent:
            attempt("hearing the others", self._hear_the_others)
            state = self.state
            if self._has_obeyed():
                return RunInterrupted(reason=self._redactor.text(self._stop or ""), **state.reached)
            return RunCompleted(
                epochs=state.epoch,
                metrics=state.metrics if metrics is None else self._numbers(metrics),
                iterations=state.iteration or None,
                best_epoch=state.best_epoch,
                best_iteration=state.best_iteration,
                best_metrics=state.best_metrics,
                duration=time.monotonic() - self._began,
                checkpoints=self._redactor.words_by_name(checkpoints),
                result=self._redactor.mapping(result),
            )

        self._end(tell, RunCompleted())

    def fail(
        self,
        error: BaseException | str,
        *,
        error_type: ErrorKind | None = None,
        traceback_text: str | None = None,
        exit_status: int | None = None,
    ) -> None:
        """End the run: it has failed. An exception is classified, and its traceback told."""

        def tell() -> AnyEvent:
            cause = attempt("hearing the others", self._hear_the_others)
            if cause is not None:
                return cause
            told = describe(error, self._redactor, error_type=error_type, traceback_text=traceback_text)
            return msgspec.structs.replace(told, **self.state.reached, exit_status=read_count(exit_status))

        self._end(tell, RunFailed(error=ErrorType.UNKNOWN_ERROR, message=_UNTOLD))

    def interrupt(self, reason: str) -> None:
        """End the run: someone or something has stopped it."""

        def tell() -> AnyEvent:
            cause = attempt("hearing the others", self._hear_the_others)
            if cause is not None:  # a launcher stops the others when one rank has failed
                return cause
            return RunInterrupted(reason=self._redactor.word(reason) or "", **self.state.reached)

        self._end(tell, RunInterrupted(reason=_UNTOLD))

    def end_with(self, error: BaseException) -> None:
        """End the run as what left it says: interrupted by a signal, Ctrl-C or an exit without fault; else failed."""
        asked_to_stop = isinstance(error, (KeyboardInterrupt, SystemExit))
        if self._signal and (asked_to_stop or time.monotonic() - self._signalled <= _DIES_WITHIN):
            self.interrupt(self._signal)
        elif isinstance(error, KeyboardInterrupt):
            self.interrupt("KeyboardInterrupt")
        elif isinstance(error, SystemExit) and not _exit_status(error):
            self.interrupt("the script exited before the work was done")
        elif isinstance(error, SystemExit):
            self.fail(error, exit_status=_exit_status(error))
        else:
            self.fail(error)

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything told so far is delivered, for `timeout` seconds at most (default: the setting)."""
        if self._claim is None or self._delivery is None:
            return True
        limit = self.settings.flush_timeout if timeout is None else timeout
        with guard("waiting for delivery"):
            return self._delivery.wait(self._claim.journal.position, limit)
        return False

    def __enter__(self) -> Run:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is None or (isinstance(error, SystemExit) and not _exit_status(error)):
            self.complete()
        else:
            self.end_with(error)

    def on_signal(self, name: str, *, fatal: bool, waited: float) -> None:
        """Part of `endings.Ending`."""
        self._signal, self._signalled = name, time.monotonic()
        self.emit(SignalReceived(signal=name))
        if fatal:
            self.interrupt(name)
            self._leave(_GRACE_ON_SIGTERM - waited)

    def on_uncaught(self, error: BaseException) -> None:
        """Part of `endings.Ending`."""
        self.end_with(error)

    def on_exit(self, waited: float) -> None:
        """Part of `endings.Ending`."""
        self.interrupt("the process exited while the run was open")
        self._leave(self.settings.flush_timeout - waited)

    def is_settled(self) -> bool:
        """Part of `endings.Ending`."""
        settled = self._ended and self.flush(timeout=0)
        if settled and self._delivery:
            self._delivery.close()
        return settled

    def _end(self, tell: Callable[[], AnyEvent], bare: AnyEvent) -> None:
        """End by what `tell` says; where that can't be had, or the journal refuses it, by the bare fact."""
        try:
            self._end_once(tell, bare)
        except BaseException as error:
            # Ctrl-C, or what a signal handler of the host's raises: torch's does for each worker that died.
            self._hurried = self._hurried or isinstance(error, KeyboardInterrupt)
            self._end_once(tell, bare)
            raise

    def _end_once(self, tell: Callable[[], AnyEvent], bare: AnyEvent) -> None:
        if self._claim is None or not self.is_heard:
            return
        told = attempt("telling the end", tell)
        with self._ending:
            ends_here = not self._ended
            for event in (told or bare, bare):
                self.emit(event)
        if ends_here:
            with guard("ending the run"):
                self._let_go(self._claim)

    def _let_go(self, claimed: Claim) -> None:
        if self._let_clearml_go:
            self._let_clearml_go()
        if self._logs:
            self._logs.stop()
        endings.forget(self)
        attempt("leaving crashes alone again", stacks.release, claimed.directory, claimed.attempt)
        _forget(self)
        if claimed.journal.at_risk is None:  # else the disk may take it before the process's exit
            claimed.journal.close()
        print_summary(claimed, self.state, at_risk=claimed.journal.at_risk)

    def _hear_the_others(self) -> RunFailed | None:
        """Take in what other ranks have told of this run; returns the failure of the one that failed first."""
        if self._claim is None or not self._is_told_by_others(self._claim):
            return None
        self.state = state_of(read_records(self._claim.directory), self.attempt)
        return self.state.cause

    def _is_told_by_others(self, claimed: Claim) -> bool:
        headers = read_headers(claimed.directory).values()
        return any(header.attempt == self.attempt and header.writer.startswith(_RANK) for header in headers)

    def _leave(self, timeout: float) -> None:
        """Wait for the courier, say what is pending, and let go."""
        if self._claim is None or self._delivery is None:
            return
        try:
            attempt("closing the journal", self._claim.journal.close)
            delivered = self.flush(timeout=0)
            if not delivered:
                attempt("starting the courier again", self._delivery.ensure)
                delivered = self.flush(0.0 if self._hurried else max(0.0, timeout))
        except KeyboardInterrupt:  # the user does not want to wait
            delivered = False
        print_delivery(self._claim, delivered=delivered)
        self._delivery.close()


class JoinedRun(Run):
    """A rank of a job in which another process opens the run and ends it.

    Of a launching process's ranks, rank 0 tells epochs, checkpoints and logs in its stead; of any other rank nothing is
    heard but its failure.
    """

    def __init__(self, find: Callable[[], tuple[Path, int] | None], rank: int, settings: Settings) -> None:
        """`find` tells the run's directory and attempt, once there is something to tell; None where there is none."""
        self._find = find
        self._found: tuple[Path, int] | None = None
        self._rank = rank
        super().__init__(self._join(settings) if rank == 0 else None, settings)

    def started(self, **_: Any) -> None:
        """The launching process has told it."""

    def complete(self, *_: Any, **__: Any) -> None:
        """The launching process will tell it."""
        self._close()

    def interrupt(self, reason: str) -> None:  # noqa: ARG002 - as `Run`'s
        """The launching process will tell it."""
        self._close()

    def _begin(self, claimed: Claim) -> Delivery | None:
        are_taken = self._images_are_taken or bool(read_history(claimed.directory).linked)
        self._stage_images(claimed.directory, are_taken=are_taken)
        self.forward_logs("")
        return None

    def _end(self, tell: Callable[[], AnyEvent], bare: AnyEvent) -> None:
        if self._ended or os.getpid() != self._pid:
            return
        with guard("telling a rank's failure"):
            if self._claim is None:
                self._claim = self._join(self.settings)
            told = msgspec.structs.asdict(attempt("telling the end", tell) or bare)
            del told["exit_status"], told["output"]
            self.emit(RankFailed(**{**told, "rank": self._rank}))
        self._close()

    def _hear_the_others(self) -> None:
        """The process that ends the run does."""

    def _place(self) -> tuple[Path, int] | None:
        self._found = self._found or self._find()
        return self._found

    def _join(self, settings: Settings) -> Claim | None:
        place = self._place()
        if place is None:
            _log.warning(
                "rank %d failed, and its run is not in %s: let all machines of a job share one TRAINER_HOOKS_DIR",
                self._rank,
                settings.root,
            )
            return None
        return join(*place, f"{_RANK}{self._rank}", settings)

    def _close(self) -> None:
        with guard("leaving the run"):
            self._ended = True
            _forget(self)
            if self._logs:
                self._logs.stop()
            if self._claim is not None:
                self._claim.journal.close()


_open_runs: list[Run] = []


def current_run() -> Run | None:
    """The run that was opened last in this process and has not ended; None if there is none."""
    return _open_runs[-1] if _open_runs else None


# Of this thread: the runs that take trainings in, the innermost last. Actions may run in several threads at once.
_around: ContextVar[tuple[Run, ...]] = ContextVar("trainer_hooks_around", default=())


def surrounding_run() -> Run | None:
    """The open run that a training of this thread is told as part of; None where it is a run of its own.

    A thread that knows of none has probably been started by an action: where just one is at work, that is it.
    """
    own = [run for run in _around.get() if not run.is_over]
    others = [run for run in _open_runs if run.takes_in_trainings]
    return own[-1] if own else others[0] if len(others) == 1 else None


def start_run(
    *,
    params: Mapping[str, Any] | None = None,
    operation: Operation = "training",
    takes_in_trainings: bool = False,
    **details: Any,
) -> Run:
    """Open a run for a hand-written loop; use it in `with`, or end it by `complete`, `fail` or `interrupt`.

    `details` are settings by their names in `Settings` (`run_id`, `job_id`, `storage`, …) and fields of `RunStarted`
    (`framework`, `task`, `model`, `total_epochs`, `dataset`, `class_names`, `output_dir`). With `resume="auto"`,
    `run.checkpoint` is what to go on from, or None. With `takes_in_trainings`, those of frameworks that `autolog` is
    attached to are told as part of this run while it is open, and don't end it; and so is any run without a name of its
    own that is opened meanwhile, here or in a process that is started here.

    Raises:
        InvalidSetting, MissingPackage: for a keyword that nobody knows, or a setting that can't be used.
        CannotResume: with `resume="auto"`, if storage can't be asked what there is to go on from.
    """
    _check_details(operation, details)
    own = {name: details.pop(name) for name in list(details) if name in Settings.__struct_fields__}
    settings = load_settings(**own)
    restored = restore(settings) if settings.resumes else None
    around = None if takes_in_trainings else surrounding_run()
    run = open_run(settings, restored=restored, alone=takes_in_trainings)
    if takes_in_trainings:
        run.takes_in_trainings = True
        _around.set((*(other for other in _around.get() if not other.is_over), run))
    told = around if around is not None and isinstance(run, JoinedRun) else run  # that one has told its start
    told.started(operation=operation, params=params, **details)
    return run


def get_checkpoint(**settings: Any) -> Restored | None:
    """The newest whole checkpoint of a run, on this disk or fetched from storage; None where there is none.

    `settings` are options by their names in `Settings`; `run_id` or `job_id`, there or in the environment, says which
    run. Verified by the SHA-256 in its manifest. `path` stays as it is until the next attempt is restored.

    Raises:
        InvalidSetting, MissingPackage: for a setting that can't be used, or where no run is named.
        CannotResume: if storage can't be asked, or the checkpoint not be had.
    """
    return newest_checkpoint(load_settings(**settings))


def load_settings(**arguments: Any) -> Settings:
    """The settings, and what can be told at once of whether they will do.

    Raises:
        InvalidSetting, MissingPackage: with the mend in the message.
    """
    settings = Settings.load(**arguments)
    if settings.resumes:
        named_run(settings)
    if settings.storage_uri is not None and settings.mode != "disabled":
        check_storage(settings.storage_uri)
    if settings.clearml and settings.mode != "disabled":
        check_installed()
    return settings


def open_run(
    settings: Settings,
    *,
    resumed: str | None = None,
    clearml: bool | None = None,
    restored: Restored | None = None,
    alone: bool = False,
) -> Run:
    """Open a run for this process, or a silent one where this process is not to speak.

    Where another run takes trainings in, in this process or in the one that has started it, it is a part of that one,
    and tells in its stead, unless it is to be `alone` or an argument names it.

    Of a rank that is not the main one, nothing is heard but its failure. `resumed` is the id of an earlier run that is
    being continued, `restored` the checkpoint it goes on from; `clearml` goes before the setting. A directory that
    can't be written is replaced by one among the temporary files, with a warning: a training is never stopped for it.
    """
    if clearml is not None:
        settings = msgspec.structs.replace(settings, clearml=clearml)
    rank = main_process_rank()
    if settings.mode == "disabled":
        return Run(None, settings)
    named = settings.sources.get("run_id") == "argument"
    above = None if alone or named else _part_of_this_process() or _open_run_above()
    if above is not None:
        return join_run(*above)
    run = (
        JoinedRun(lambda: find_launched(settings), rank, settings) if rank else _claim_run(settings, resumed, restored)
    )
    run.checkpoint = restored
    if run.id is not None:
        _open_runs.append(run)
    return run


def _claim_run(settings: Settings, resumed: str | None, restored: Restored | None) -> Run:
    if restored is None:
        return Run(claim_somewhere(settings, resumed), settings)
    return Run(claim_somewhere(settings, restored.run, after=restored.attempt), settings)


def join_run(directory: str, attempt: int) -> Run:
    """In a process that a run's own process has launched: tell in that one's stead (see `Run.hand_over`).

    Where checkpoints go is known from the run's own record; credentials are the courier's business, not this process's.
    """
    place = Path(directory)
    recorded = load_addresses(place).items()
    addresses: dict[str, Any] = {name: value for name, value in recorded if name.startswith(_FOR_COPIES)}
    run = JoinedRun(lambda: (place, attempt), main_process_rank(), Settings.load(**addresses))
    _open_runs.append(run)
    return run


def _part_of_this_process() -> tuple[str, int] | None:
    around = surrounding_run()
    return around.hand_over() if around is not None else None


def _open_run_above() -> tuple[str, int] | None:
    """The run that this process was started within, while that is at work in another process of this machine."""
    place = run_above()
    if place is None:
        return None
    directory, attempt = place
    headers = {number: header for number, header in read_headers(directory).items() if header.attempt == attempt}
    if not headers or recent_state(directory, attempt).ended is not None:
        return None
    process = owner(headers, attempt).process
    return (str(directory), attempt) if is_alive(process) and process != this_process() else None


def _stager(claimed: Claim) -> Stager | None:
    if claimed.settings.storage_uri is None:
        return None
    return Stager(claimed.directory, keep_all=claimed.settings.has_courier)


def _check_details(operation: str, details: Mapping[str, Any]) -> None:
    """Raise InvalidSetting for what `start_run` doesn't know."""
    if operation not in get_args(Operation):
        message = f"operation is {operation!r} (known: {', '.join(get_args(Operation))})"
        raise InvalidSetting(message)
    known = [name for kind in (RunStarted, Settings) for name in kind.__struct_fields__]
    for name in details:
        if name not in known:
            message = f"{name!r} is neither a setting nor a detail of a run (known: {', '.join(known)})"
            raise InvalidSetting(message)


def _forget(run: Run) -> None:
    if run in _open_runs:
        _open_runs.remove(run)


def _exit_status(error: SystemExit) -> int:
    """As Python turns it into the process's: no code is 0, and what is no number is 1."""
    if isinstance(error.code, int):
        return int(error.code)
    return 0 if error.code is None else 1

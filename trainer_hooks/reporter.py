"""What a run is told by its integration or its loop: methods that turn values of any kind into events.

None of them raises for a value that can't be read, a file that can't be copied, or a delivery that fails; and none lets
a field that can't be read cost the rest of the event.
"""

from __future__ import annotations

import abc
import itertools
import logging
import os
import stat
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from trainer_hooks.events import (
    AnyEvent,
    CheckpointSaved,
    EpochEnded,
    Event,
    ExportCompleted,
    ImageSaved,
    InferenceCompleted,
    Level,
    Logged,
    MetricsLogged,
    MetricsSkipped,
    Operation,
    ProgressMade,
    RunStarted,
    StepFailed,
    StepFinished,
    StepRolledBack,
    StepStarted,
    Validated,
)
from trainer_hooks.failures import describe
from trainer_hooks.folders import size_of
from trainer_hooks.history import RunState
from trainer_hooks.metrics import items_of, read_count, read_metrics, read_quantity, text_of
from trainer_hooks.redact import Redactor
from trainer_hooks.shield import ask, guard, harmless
from trainer_hooks.staging import Stager

_log = logging.getLogger("trainer_hooks")
_LEVELS: frozenset[str] = frozenset(get_args(Level))
_MOST_NAMES = 50_000
_MOST_SKIPPED = 20_000
_MOST_SAID = 10
_MOST_OF_A_CHECKPOINT = 20
_LONGEST_NAME = 500
_OPERATIONS: frozenset[str] = frozenset(get_args(Operation))


class Reporter(abc.ABC):
    """The telling half of a `Run`: everything but its opening and its end."""

    def __init__(self, redactor: Redactor, stager: Stager | None) -> None:
        """`stager` makes the private copies of checkpoints; None where none are stored."""
        self.state = RunState()
        self._redactor = redactor
        self._stager = stager
        self._image_stager: Stager | None = None
        self._skipped: set[str] = set()
        self._clean_names: set[str] = set()
        self._uncopied: set[str] = set()
        self._epoch_began = time.monotonic()

    @property
    @abc.abstractmethod
    def is_heard(self) -> bool:
        """Whether what is told now goes anywhere."""

    @abc.abstractmethod
    def emit(self, event: AnyEvent) -> None:
        """Accept an event."""

    @harmless
    def started(self, **details: Any) -> None:
        """Tell that the work begins; `details` are the fields of `RunStarted`, of any type."""
        known = _known(details, RunStarted)
        operation = self._redactor.word(known.get("operation"))
        known["operation"] = operation if operation in _OPERATIONS else "training"
        for name in ("action", "parent", "framework", "task", "model", "output_dir", "resumed_from"):
            known[name] = self._redactor.word(known.get(name))
        for name in ("params", "dataset"):
            known[name] = self._redactor.mapping(known.get(name))
        for name in ("total_epochs", "total_iterations", "epoch", "iteration"):
            known[name] = read_count(known.get(name))
        known["trainings"] = read_count(known.get("trainings")) or 0
        known["class_names"] = self._redactor.words(known.get("class_names"))
        known["versions"] = self._redactor.words_by_name(known.get("versions"))
        self.emit(RunStarted(**known))

    @harmless
    def log_metrics(
        self,
        metrics: Mapping[str, Any],
        *,
        epoch: int | None = None,
        total_epochs: int | None = None,
        iteration: int | None = None,
        duration: float | None = None,
    ) -> None:
        """Tell metrics: of a finished epoch (counted from 1), of an iteration, or of the run as a whole.

        Values may be Python, numpy or torch numbers; what is no number is skipped, and named once with the reason.
        `duration` of the epoch in seconds; without it, the time since the epoch before.
        """
        numbers = self._numbers(metrics)
        epoch = read_count(epoch)  # hosts and loops count in numpy, too
        if epoch is None:
            self.emit(MetricsLogged(metrics=numbers, iteration=read_count(iteration)))
            return
        total = read_count(total_epochs) or self.state.total_epochs
        took = read_quantity(duration)
        took = time.monotonic() - self._epoch_began if took is None else took
        self._epoch_began = time.monotonic()
        left = max(0, total - epoch) * took if total else None
        self.emit(EpochEnded(epoch=epoch, total_epochs=total, metrics=numbers, duration=took, time_left=left))

    @harmless
    def log_validation(
        self, metrics: Mapping[str, Any], *, epoch: int | None = None, iteration: int | None = None, **details: Any
    ) -> None:
        """Tell a validation's result after so many finished epochs or iterations, or else at the run's present epoch.

        `details` are the other fields of `Validated`.
        """
        known = _known(details, Validated)
        known["per_class"] = self._numbers_by_class(known.get("per_class"))
        for name in ("task", "primary"):
            known[name] = self._redactor.word(known.get(name))
        for name in ("is_best", "final"):
            known[name] = _is_true(known.get(name))
        known["class_names"] = self._redactor.words(known.get("class_names"))
        known["images"] = self._redactor.words_by_name(known.get("images"))
        known["metrics"] = self._numbers(metrics)
        done = read_count(iteration)
        self.emit(Validated(**known, epoch=self._epoch(epoch) if done is None else read_count(epoch), iteration=done))

    @harmless
    def log_checkpoint(
        self,
        path: str | os.PathLike[str],
        *,
        names: str | Sequence[str] = ("last",),
        epoch: int | None = None,
        iteration: int | None = None,
        metrics: Mapping[str, Any] | None = None,
        final: bool = False,
    ) -> None:
        """Tell that a checkpoint has been written, whole, and have it stored under this name, or these names.

        It may be a file or a folder. Where storage is configured it is copied before this returns: it may be rewritten
        or deleted right after.
        """
        if not self.is_heard:
            return
        source = os.path.abspath(path)  # noqa: PTH100 - a Path takes ten times as long, in a training's cold caches
        words = [word[:_LONGEST_NAME] for word in self._redactor.words(names)[:_MOST_OF_A_CHECKPOINT]] or ["last"]
        is_folder = stat.S_ISDIR(os.stat(source).st_mode)  # noqa: PTH116 - as above
        staged, size, uncopied = self._stage(source, words)
        self.emit(
            CheckpointSaved(
                names=words,
                path=self._redactor.text(source),
                size=size,
                epoch=read_count(epoch),
                iteration=read_count(iteration),
                metrics={} if metrics is None else self._numbers(metrics),
                final=_is_true(final),
                staged=staged,
                uncopied=uncopied,
                folder=is_folder,
            )
        )
        if self._stager and staged is not None:
            self._stager.told(staged, words)

    def _stage(self, source: str, names: Sequence[str]) -> tuple[str | None, int, str | None]:
        """Where the private copy is, if one is wanted; the checkpoint's size; and why there is no copy."""
        uncopied = None
        if self._stager:
            with guard("copying a checkpoint"):
                try:
                    return *self._stager.stage(Path(source), names), None
                except OSError as error:
                    uncopied = self._warn_uncopied(source, error)
        size = ask(lambda: size_of(source))
        return None, 0 if isinstance(size, Exception) else size, uncopied

    def _warn_uncopied(self, source: str, error: OSError) -> str:
        """Why there is no private copy; warned of once per reason: a disk stays full for many epochs."""
        reason = self._redactor.text(error.strerror or str(error), _LONGEST_NAME)
        if reason not in self._uncopied:
            self._uncopied.add(reason)
            _log.warning(
                "no private copy of %s, which is not stored therefore: %s", self._redactor.text(source), reason
            )
        return reason

    @harmless
    def log_image(
        self,
        path: str | os.PathLike[str],
        *,
        title: str | None = None,
        epoch: int | None = None,
        iteration: int | None = None,
    ) -> None:
        """Tell that an image has been written, after so many epochs or iterations, or else at the run's present epoch.

        `title` is by default the file's name without its ending. The file is copied before this
        returns; where nothing takes the copies away, the newest 200 are kept.
        """
        if not self.is_heard:
            return
        source = Path(os.path.abspath(path))  # noqa: PTH100 - does not ask the file system
        name = (self._redactor.word(title) or self._redactor.text(source.stem))[:_LONGEST_NAME]
        staged = None
        if self._image_stager:
            with guard("copying an image"):
                staged, _ = self._image_stager.stage(source, [name])
        done = read_count(iteration)
        at = self._epoch(epoch) if done is None else read_count(epoch)
        shown = self._redactor.text(str(source))
        self.emit(ImageSaved(title=name, path=shown, epoch=at, iteration=done, staged=staged))
        if self._image_stager and staged:
            self._image_stager.told(staged, [name])

    @harmless
    def log(
        self,
        message: str,
        level: str = "INFO",
        *,
        source: str = "trainer",
        extra: Mapping[str, Any] | None = None,
        **data: Any,
    ) -> None:
        """Tell a log record; CRITICAL and unknown levels count as ERROR.

        `extra` is more data, by names of any kind: "level" and "source" among them.
        """
        name = _level_of(level) or str(self._redactor.word(level)).upper()
        known: Any = name if name in _LEVELS else "ERROR"
        text, origin = self._redactor.word(message) or "", self._redactor.word(source) or "trainer"
        told = {**self._redactor.mapping(extra), **self._redactor.mapping(data)}
        self.emit(Logged(level=known, message=text, source=origin, data=told))

    @harmless
    def _forward_log(self, message: str, level: Level, source: str) -> None:
        """Tell a log record of the host's own."""
        text, origin = self._redactor.word(message) or "", self._redactor.word(source) or "trainer"
        self.emit(Logged(level=level, message=text, source=origin, forwarded=True))

    @harmless
    def progress(self, current: float, total: float, category: str = "train") -> None:
        """Tell that `current` of `total` units of `category` are done."""
        done, of = read_quantity(current), read_quantity(total)
        if done is not None and of is not None:
            self.emit(ProgressMade(current=done, total=of, category=self._redactor.word(category) or "train"))

    @harmless
    def step_started(self, name: str, *, order: int, total: int, share: float, retry: int = 0) -> None:
        """Tell that a workflow step begins; see `StepStarted`."""
        self.emit(StepStarted(step=self._redactor.text(name), order=order, total=total, share=share, retry=retry))

    @harmless
    def step_finished(self, name: str, *, duration: float = 0.0, skipped: str | None = None) -> None:
        """Tell that a workflow step is done; `skipped` says why nothing had to be done."""
        reason = self._redactor.word(skipped)
        self.emit(StepFinished(step=self._redactor.text(name), duration=duration, skipped=reason))

    @harmless
    def step_failed(self, name: str, error: BaseException, *, duration: float = 0.0, retrying: bool = False) -> None:
        """Tell that a try at a workflow step ended by this error."""
        said = self._described(error)
        self.emit(StepFailed(step=self._redactor.text(name), duration=duration, retrying=retrying, **said))

    @harmless
    def step_rolled_back(self, name: str, *, duration: float = 0.0, error: BaseException | None = None) -> None:
        """Tell that a workflow step is undone; or could not be, for this error."""
        said = {} if error is None else self._described(error)
        self.emit(StepRolledBack(step=self._redactor.text(name), duration=duration, **said))

    def _described(self, error: BaseException) -> dict[str, Any]:
        told = describe(error, self._redactor, error_type=None, traceback_text=None)
        return {name: getattr(told, name) for name in ("error", "message", "exception", "traceback")}

    @harmless
    def report_inference_completed(
        self,
        *,
        total_images: int,
        total_inference_time_ms: float,
        results: Sequence[Mapping[str, Any]],
        result_urls: Mapping[str, str] | None = None,
    ) -> None:
        """Tell an inference job's results; each needs an `image_path`."""
        self.emit(
            InferenceCompleted(
                total_images=read_count(total_images) or 0,
                total_time_ms=read_quantity(total_inference_time_ms) or 0.0,
                results=self._redactor.mappings(results),
                result_urls=self._redactor.words_by_name(result_urls),
            )
        )

    @harmless
    def report_export_completed(
        self, *, export_format: str, output_s3_uri: str, file_size_bytes: int, metadata: Mapping[str, Any] | None = None
    ) -> None:
        """Tell that an exported model is in storage, where `output_s3_uri` says."""
        self.emit(
            ExportCompleted(
                export_format=self._redactor.word(export_format) or "",
                uri=self._redactor.word(output_s3_uri) or "",
                size=read_count(file_size_bytes) or 0,
                metadata=self._redactor.mapping(metadata),
            )
        )

    def _epoch(self, epoch: Any) -> int:
        """That epoch; the run's present one where it can't be read."""
        read = read_count(epoch)
        return self.state.epoch if read is None else read

    def _numbers(self, metrics: Mapping[str, Any]) -> dict[str, Any]:
        # Asked of its type first: of 50,000 classes each may be no mapping, and an exception takes its time.
        read = ask(lambda: read_metrics(metrics)) if hasattr(type(metrics), "items") else None
        if read is None or isinstance(read, Exception):
            read = {}, {"metrics": f"{type(metrics).__qualname__} is no mapping of names to numbers"}
        numbers, skipped = read
        if not skipped.keys() <= self._skipped:
            self._tell_skipped(skipped)
        return numbers if numbers.keys() <= self._clean_names else self._with_clean_names(numbers)

    def _tell_skipped(self, skipped: dict[str, str]) -> None:
        """Name those that were not named yet, with the reason."""
        room = _MOST_SKIPPED - len(self._skipped)
        new = [name for name in skipped if name not in self._skipped][: max(0, room)]
        if not new:
            return
        self._skipped.update(new)
        reasons = {self._named(name): self._redactor.text(skipped[name]) for name in new}
        shown = [f"{name}: {reason}" for name, reason in itertools.islice(reasons.items(), _MOST_SAID)]
        more = f"; and {len(reasons) - len(shown)} more" if len(reasons) > len(shown) else ""
        _log.warning("metrics skipped: %s%s", "; ".join(shown), more)
        self.emit(MetricsSkipped(reasons=reasons))

    def _named(self, name: str) -> str:
        """A metric's name as it is told: free of secrets, and of a bounded length."""
        clean, half = self._redactor.text(name), _LONGEST_NAME // 2
        return clean if len(clean) <= _LONGEST_NAME else f"{clean[: half - 1]}…{clean[-half:]}"

    def _with_clean_names(self, numbers: dict[str, Any]) -> dict[str, Any]:
        clean = {self._named(name): number for name, number in numbers.items()}
        if len(self._clean_names) < _MOST_NAMES:
            self._clean_names.update(clean.keys() & numbers.keys())
        return clean

    def _numbers_by_class(self, per_class: Any) -> dict[str, dict[str, Any]]:
        if per_class is None:
            return {}
        items = ask(lambda: items_of(per_class, _MOST_NAMES))
        if isinstance(items, Exception):
            self._tell_skipped({"per_class": f"{type(per_class).__qualname__} is no mapping of classes to metrics"})
            return {}
        return {self._redactor.word(name) or "": self._numbers(of) for name, of in items}


def _level_of(level: Any) -> str | None:
    """The name of a level that is a number; None for anything else."""
    return text_of(ask(lambda: logging.getLevelName(level))) if issubclass(type(level), int) else None


def _is_true(value: Any) -> bool:
    return value if type(value) is bool else ask(lambda: bool(value)) is True


def _known(details: Mapping[str, Any], kind: type[Event]) -> dict[str, Any]:
    """The details that the event has fields for; others are named in a warning."""
    unknown = [name for name in details if name not in kind.__struct_fields__]
    if unknown:
        _log.warning("%s has no %s (known: %s)", kind.__name__, ", ".join(unknown), ", ".join(kind.__struct_fields__))
    return {name: value for name, value in details.items() if name not in unknown}

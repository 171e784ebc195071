"""MMEngine: what a Runner does, told to a run; and so MMDetection, MMSegmentation, MMPretrain and all that runs on it.

`attach` wraps `Runner` and `FlexibleRunner`: `__init__`, `train`, `val` and `test` for the work and its failures, for
which MMEngine has no stage; `call_hook` for what happens in it; `save_checkpoint` for the moment when a file is whole.
`TrainerHook`, an entry in a config's `custom_hooks`, wraps them as well, and asks for the runners that it stands in. It
does nothing in any stage itself: so both at once double nothing, and no error of ours can pass `call_hook`, which would
rewrite it.

Here is who is told, and when; `work` has what is told, `description` what a run starts with, and `scalars` reads the
host's own records. Facts of the host that the code relies on stand beside it; docs/compatibility.md has its versions.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Any

import mmengine
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import FlexibleRunner, Runner

from trainer_hooks.attempts import find_run_by_output
from trainer_hooks.errors import CannotResume, InvalidSetting
from trainer_hooks.events import Operation
from trainer_hooks.integrations import Opener, OwnOpener, warn_if_untested
from trainer_hooks.integrations.mmengine.description import describe, resumed_from
from trainer_hooks.integrations.mmengine.own_clearml import hold_back
from trainer_hooks.integrations.mmengine.work import ON_EVERY_RANK, STAGES, Work
from trainer_hooks.run import load_settings
from trainer_hooks.settings import is_secret, trust_checkpoints
from trainer_hooks.shield import Observer, Patch, attempt, followed, observed

_METHODS: dict[str, Operation] = {"train": "training", "val": "validation", "test": "test"}
_works: weakref.WeakKeyDictionary[Any, Work] = weakref.WeakKeyDictionary()


def attach(opener: Opener) -> Callable[[], None]:
    """Attach to every runner of this process, also to those that exist already."""
    warn_if_untested("mmengine", mmengine.__version__, "0.8.5", "0.10.12")
    _wrapping.opener = opener
    _wrapping.wrap()
    return _wrapping.detach


@HOOKS.register_module()
class TrainerHook(Hook):  # type: ignore[misc]  # the host is not typed
    """An entry in a config's `custom_hooks`: `dict(type="trainer_hooks.TrainerHook")`.

    Further keys are settings by their names in `trainer_hooks.settings.Settings`; the environment gives the others.
    Credentials are refused here, since the host writes its config into files.

    Raises:
        InvalidSetting, MissingPackage: when the Runner is built, with the mend in the message.
    """

    priority = "LOWEST"

    def __init__(self, **settings: Any) -> None:
        for name, value in settings.items():
            if is_secret(name, value):
                message = f"TrainerHook: {name!r} is a credential, and configs become files; use the environment"
                raise InvalidSetting(message)
        self.opener = OwnOpener(load_settings(**settings))
        self.has_settings = bool(settings)
        _wrapping.wrap()


class _Wrapping:
    """The runners' methods, wrapped; and who wants which runner told."""

    def __init__(self) -> None:
        self.opener: Opener | None = None
        self._patches: list[Patch] = []
        self._handlers: dict[str, Callable[..., None]] = {}

    def wrap(self) -> None:
        """Wrap them, if they aren't."""
        if self._patches:
            return
        self._handlers.update({stage: _for_known(stage, handler) for stage, handler in STAGES.items()})
        for runner in (Runner, FlexibleRunner):
            self._patches += [
                Patch(runner, "__init__", observed(_Construction())),
                Patch(runner, "call_hook", followed(self._handlers)),
                Patch(runner, "save_checkpoint", observed(_Saving())),
                *(Patch(runner, name, observed(_Working(operation))) for name, operation in _METHODS.items()),
            ]

    def hear_iterations(self) -> None:
        """From now on; not before somebody wants them: without a handler, an announcement costs one look-up."""
        self._handlers["after_train_iter"] = _for_known("after_train_iter", Work.iteration_ended)

    def detach(self) -> None:
        """Put the originals back. A runner whose config has a TrainerHook is told no more, either."""
        self.opener = None
        self._handlers.clear()
        while self._patches:
            self._patches.pop().undo()

    def opener_of(self, runner: Any) -> Opener | None:
        """How to open a run for this runner; None where nobody wants it told."""
        hook = next((hook for hook in getattr(runner, "_hooks", ()) if isinstance(hook, TrainerHook)), None)
        if hook is not None and (hook.has_settings or self.opener is None):
            return hook.opener
        return self.opener


_wrapping = _Wrapping()


class _Construction(Observer):
    """A runner that can't even be built, for an unknown model say, is work that failed."""

    def raised(self, error: BaseException, runner: Any, *_: Any, **options: Any) -> None:
        opener = _wrapping.opener_of(runner)
        if opener is not None:
            # Which of its works was wanted is not known yet; what can train was most likely to.
            can_train = options.get("train_cfg") is not None
            _begin(runner, "training" if can_train else "test", opener)
            work = _works.pop(runner)
            work.let_go()
            work.run.training_ended_with(error)


class _Working(Observer):
    """`runner.train()`, `.val()` or `.test()`, from its call to its return or its exception."""

    def __init__(self, operation: Operation) -> None:
        self._operation = operation

    def before(self, runner: Any, *_: Any, **__: Any) -> None:
        work, opener = _works.get(runner), _wrapping.opener_of(runner)
        if work is not None and work.depth:  # a test within a training, say: it belongs to that
            work.depth += 1
        elif opener is not None:
            resuming = self._operation == "training" and _resume(runner, opener)
            _begin(runner, self._operation, opener)
            if resuming:
                # The host's checkpoints hold more than weights; this one is our own, verified.
                _works[runner].distrust = trust_checkpoints()

    def returned(self, _: Any, runner: Any, *__: Any, **___: Any) -> None:
        work = _left(runner)
        if work is not None:
            work.run.training_completed(work.latest)

    def raised(self, error: BaseException, runner: Any, *_: Any, **__: Any) -> None:
        work = _left(runner)
        if work is not None:
            work.failed(runner, error)


class _Saving(Observer):
    """`save_checkpoint` has returned: the file is there, whole. Only the main rank writes."""

    def returned(self, _: Any, runner: Any, out_dir: str, filename: str, *__: Any, **___: Any) -> None:
        work = _works.get(runner)
        if work is not None and work.is_heard:
            work.checkpoint_written(runner, os.path.join(out_dir, filename))  # noqa: PTH118 - as the host joins them


def _left(runner: Any) -> Work | None:
    """The work that the runner has left by its outermost call; None where it goes on."""
    work = _works.get(runner)
    if work is None or not work.depth:
        return None
    work.depth -= 1
    if work.depth:
        return None
    work.distrust()
    work.let_go()
    return work


def _begin(runner: Any, operation: Operation, opener: Opener) -> None:
    """Open the runner's run and tell that its work starts."""
    checkpoint = attempt("reading what to resume", resumed_from, runner) if operation == "training" else None
    resumed = attempt("looking for the resumed run", _find_resumed, opener, runner, checkpoint) if checkpoint else None
    run = opener(resumed=resumed)
    let_clearml_go = attempt("holding ClearMLVisBackend back", hold_back, runner, run) if run.is_mirrored else None
    _works[runner] = Work(run, operation, _wrapping.hear_iterations, let_clearml_go)
    if run.is_heard:
        if hasattr(runner, "logger"):
            run.forward_logs(runner.logger)  # not one of Python's own tree of loggers
        described = attempt("describing the runner", describe, runner, operation) or {}
        run.started(operation=operation, resumed_from=checkpoint, **described)


def _resume(runner: Any, opener: Opener) -> bool:
    """With `resume="auto"`: have the host go on from the run's newest checkpoint, unless the user says from which."""
    if runner._resume:  # noqa: SLF001 - there is no other way to ask, nor to say it below
        return False
    try:
        restored = opener.restore()
    except CannotResume as error:
        _begin(runner, "training", opener)
        _works[runner].failed(runner, error)
        del _works[runner]
        raise
    if restored is not None:
        runner._load_from, runner._resume = str(restored.path), True  # noqa: SLF001
    return restored is not None


def _find_resumed(opener: Opener, runner: Any, checkpoint: str) -> str | None:
    folders = (os.path.dirname(os.path.abspath(checkpoint)), runner.work_dir)  # noqa: PTH100, PTH120 - as `_Saving`
    found = (find_run_by_output(opener.settings.root, folder) for folder in folders)
    return next((run for run in found if run is not None), None)


def _for_known(stage: str, handler: Callable[..., None]) -> Callable[..., None]:
    everywhere = stage in ON_EVERY_RANK

    def handle(runner: Any, **announced: Any) -> None:
        work = _works.get(runner)
        if work is not None and (work.is_heard or (everywhere and work.depth)):
            handler(work, runner, **announced)

    return handle

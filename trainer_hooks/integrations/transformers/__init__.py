"""Hugging Face's transformers: what a Trainer does, told to a run; and so Seq2SeqTrainer, TRL's, and all that inherit.

`attach` wraps `Trainer.train`, `.evaluate` and `.predict` for the work and its failures, for which there is no event;
`CallbackHandler.call_event` for what happens in it; `_save_checkpoint` for the moment when a checkpoint's folder is
whole. Nothing of ours stands among the trainer's callbacks, whose states the host writes into its checkpoints.

Here is who is told, and when; `work` has what is told, `description` what a run starts with. Facts of the host that the
code relies on stand beside it; docs/huggingface.md has its versions.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import transformers
from transformers.trainer import Trainer
from transformers.trainer_callback import CallbackHandler

from trainer_hooks.attempts import find_run_by_output
from trainer_hooks.errors import CannotResume
from trainer_hooks.events import Operation
from trainer_hooks.integrations import Opener, warn_if_untested
from trainer_hooks.integrations.transformers.description import class_names, describe, output_dir, resumed_from
from trainer_hooks.integrations.transformers.resume import put_best_back
from trainer_hooks.integrations.transformers.work import EVENTS, ON_EVERY_RANK, Work
from trainer_hooks.shield import Observer, Patch, attempt, followed, guard, observed, redirected

_METHODS: dict[str, Operation] = {"train": "training", "evaluate": "validation", "predict": "test"}
_LOGGER = "transformers"  # its records don't reach the root logger
# By callback handler, which each trainer has one of: it is what announces.
_works: weakref.WeakKeyDictionary[Any, Work] = weakref.WeakKeyDictionary()


def attach(opener: Opener) -> Callable[[], None]:
    """Attach to every trainer of this process, also to those that exist already."""
    warn_if_untested("transformers", transformers.__version__, "4.46.0", "5.24.0")
    handlers = {event: _for_known(event, handler) for event, handler in EVENTS.items()}
    patches = [
        Patch(CallbackHandler, "call_event", followed(handlers)),
        Patch(Trainer, "_save_checkpoint", observed(_Saving())),
        *(Patch(Trainer, name, observed(_Working(operation, opener))) for name, operation in _METHODS.items()),
        # Outside of the one above, which is told where the training goes on from as if the user had said it.
        Patch(Trainer, "train", redirected(_Resuming(opener))),
    ]

    def detach() -> None:
        while patches:
            patches.pop().undo()

    return detach


class _Working(Observer):
    """`trainer.train()`, `.evaluate()` or `.predict()`, from its call to its return or its exception."""

    def __init__(self, operation: Operation, opener: Opener) -> None:
        self._operation = operation
        self._opener = opener

    def before(self, trainer: Any, *arguments: Any, **options: Any) -> None:
        work = _works.get(trainer.callback_handler)
        if work is not None and work.depth:  # an evaluation within a training, say: it belongs to that
            work.depth += 1
        else:
            _begin(trainer, self._operation, self._opener, _said(arguments, options))

    def returned(self, _: Any, trainer: Any, *__: Any, **___: Any) -> None:
        work = _left(trainer)
        if work is not None:
            work.run.training_completed(work.latest)

    def raised(self, error: BaseException, trainer: Any, *_: Any, **__: Any) -> None:
        work = _left(trainer)
        if work is not None:
            work.failed(trainer.state, error)


class _Resuming:
    """With `resume="auto"`: have the host go on from the run's newest checkpoint, unless the user says from which."""

    def __init__(self, opener: Opener) -> None:
        self._opener = opener

    def __call__(self, trainer: Any, *arguments: Any, **options: Any) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """The arguments that `train` is to be called with instead; None where they stay."""
        work = _works.get(trainer.callback_handler)
        trial = options.get("trial", arguments[1] if len(arguments) > 1 else None)
        if _said(arguments, options) or trial is not None or (work is not None and work.depth):
            return None
        try:
            restored = self._opener.restore()
        except CannotResume as error:
            _begin(trainer, "training", self._opener, None)
            _works.pop(trainer.callback_handler).failed(trainer.state, error)
            raise
        if restored is None:
            return None
        with guard("putting the best checkpoint back"):
            put_best_back(trainer, restored)
        if arguments:
            return (trainer, str(restored.path), *arguments[1:]), options
        return (trainer,), {**options, _RESUME: str(restored.path)}


class _Saving(Observer):
    """`_save_checkpoint` has returned: the folder is there, whole, but for what other ranks put into it."""

    def returned(self, _: Any, trainer: Any, __: Any, trial: Any = None, *___: Any, **____: Any) -> None:
        work = _works.get(trainer.callback_handler)
        if work is not None and work.is_heard:
            work.checkpoint_written(trainer.args, trainer.state, trainer._get_output_dir(trial))  # noqa: SLF001


_RESUME = "resume_from_checkpoint"


def _said(arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """The first argument of the host's methods: the checkpoint, or the dataset."""
    names = (_RESUME, "eval_dataset", "test_dataset")
    return arguments[0] if arguments else next((options[name] for name in names if name in options), None)


def _left(trainer: Any) -> Work | None:
    """The work that the trainer has left by its outermost call; None where it goes on."""
    work = _works.get(trainer.callback_handler)
    if work is None or not work.depth:
        return None
    work.depth -= 1
    return None if work.depth else work


def _begin(trainer: Any, operation: Operation, opener: Opener, said: Any) -> None:
    """Open the trainer's run and tell that its work starts."""
    training = operation == "training"
    checkpoint = attempt("reading what to resume", resumed_from, trainer, said) if training and said else None
    resumed = attempt("looking for the resumed run", _find_resumed, opener, trainer, checkpoint) if checkpoint else None
    run = opener(resumed=resumed)
    classes = attempt("reading the class names", class_names, trainer.model) or []
    _works[trainer.callback_handler] = Work(run, operation, classes)
    if run.is_heard:
        run.forward_logs(_LOGGER)
        dataset = None if training else said
        described = attempt("describing the trainer", describe, trainer, operation, dataset, checkpoint) or {}
        run.started(operation=operation, resumed_from=checkpoint, **described)


def _find_resumed(opener: Opener, trainer: Any, checkpoint: str) -> str | None:
    folders = (str(Path(checkpoint).absolute().parent), output_dir(trainer))
    found = (find_run_by_output(opener.settings.root, folder) for folder in folders)
    return next((run for run in found if run is not None), None)


def _for_known(event: str, handler: Callable[..., None]) -> Callable[..., None]:
    everywhere = event in ON_EVERY_RANK

    def handle(announcer: Any, *announced: Any, **more: Any) -> None:
        work = _works.get(announcer)
        if work is not None and (work.depth if everywhere else work.is_heard):
            handler(work, *announced, **more)

    return handle

"""What a later attempt of the run needs to know of the steps that are done: `steps.json` in the run's directory.

What a step has done rests on the steps before it, and on what they have left in the context. So steps are taken as done
only from the first one on without a gap, of the same action with the same parameters; and once one is done anew, so are
all behind it. The values in the file are exact, as the steps' code needs them, and not redacted as the journal is: only
its owner may read it. It is gone once the run has completed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, cast

from trainer_hooks.actions.steps.base import BaseStep, StepResult
from trainer_hooks.actions.steps.context import BaseStepContext
from trainer_hooks.actions.steps.exact import NotExact, decoded, encoded
from trainer_hooks.files import replacing
from trainer_hooks.history import read_history
from trainer_hooks.run import Run
from trainer_hooks.settings import has_other_ranks
from trainer_hooks.shield import attempt, guard

_log = logging.getLogger("trainer_hooks")
_NAME = "steps.json"
_AGAIN = (
    "step %r and those behind it will be done again in a later attempt: %s, which can't be kept exactly; keep a path, "
    "or plain values"
)
_OWN = frozenset(field.name for field in dataclasses.fields(BaseStepContext))


@dataclasses.dataclass(frozen=True)
class DoneStep:
    """A step that is done: its class, in which attempt, behind which others; values as `exact.encoded` makes them.

    `skipped`: it said itself that it had nothing to do. `context` is what it has changed there.
    """

    name: str
    kind: str
    before: list[str]
    attempt: int
    skipped: bool
    timestamp: str
    data: Any
    rollback_data: Any
    context: dict[str, Any]

    def result(self) -> StepResult:
        """What the step has returned, marked as skipped now."""
        return StepResult(
            data=decoded(self.data),
            rollback_data=decoded(self.rollback_data),
            skipped=True,
            timestamp=datetime.fromisoformat(self.timestamp),
        )


class Memory(Protocol):
    """Which steps are done, over all attempts of a run."""

    def recall(self, name: str) -> DoneStep | None:
        """The step, if it is done and can be taken as done now; the context is then as it has left it."""
        ...

    def remember(self, name: str, result: StepResult) -> None:
        """The step has just been done."""
        ...

    def forget(self, name: str) -> None:
        """The step is about to be done anew, or undone: neither it nor what rests on it is done any more."""
        ...


def open_memory(steps: Sequence[BaseStep[Any]], context: BaseStepContext) -> Memory:
    """What earlier attempts of this run have done; in a run without a directory, nothing is remembered.

    Nor in a job of several ranks: each of them would have to take the same steps as done, and only one has a run.
    """
    run = context.runtime_ctx.run
    if run.directory is None or has_other_ranks():
        return _NoMemory()
    return _FileMemory(run.directory / _NAME, {step.name: type(step).__qualname__ for step in steps}, context)


def forget_steps(run: Run) -> None:
    """The run has completed: nothing of it needs to be remembered."""
    if run.directory is not None:
        with guard("forgetting the steps"):
            (run.directory / _NAME).unlink(missing_ok=True)


class _NoMemory:
    """Where nothing can be remembered."""

    def recall(self, name: str) -> None: ...

    def remember(self, name: str, result: StepResult) -> None: ...

    def forget(self, name: str) -> None: ...


class _FileMemory:
    """In a file of the run's directory. That it can't be read or written costs what is remembered, and no more."""

    def __init__(self, path: Path, kinds: Mapping[str, str], context: BaseStepContext) -> None:
        self._path = path
        self._names = list(kinds)
        self._kinds = kinds
        self._context = context
        self._params = _fingerprint(context)
        self._is_incomplete = self._params is None
        self._seen = _seen(context)
        self._done = attempt("reading which steps are done", self._load) or []
        self._save()  # what doesn't count any more is gone before any of it is done anew

    def recall(self, name: str) -> DoneStep | None:
        found = next((done for done in self._done if done.name == name), None)
        if found is not None:
            for attribute, value in found.context.items():
                setattr(self._context, attribute, decoded(value))
            self._seen = _seen(self._context)
        return found

    def remember(self, name: str, result: StepResult) -> None:
        if self._is_incomplete:
            return
        self._is_incomplete = True
        with guard("remembering which steps are done"):
            try:
                self._done.append(self._as_done(name, result))
            except NotExact as reason:
                _log.info(_AGAIN, name, reason)
                return
            self._is_incomplete = False
            self._save()

    def forget(self, name: str) -> None:
        before = self._before(name)
        left = [done for done in self._done if done.name in before]
        if len(left) < len(self._done):
            self._done = left
            self._save()

    def _before(self, name: str) -> list[str]:
        return self._names[: self._names.index(name)]

    def _as_done(self, name: str, result: StepResult) -> DoneStep:
        before, self._seen = self._seen, _seen(self._context)
        changed = {}
        for attribute, text in self._seen.items():
            if isinstance(text, NotExact):  # nor could it be told whether a later step has changed it
                raise text
            if text != before.get(attribute):
                changed[attribute] = json.loads(text)
        return DoneStep(
            name=name,
            kind=self._kinds[name],
            before=self._before(name),
            attempt=self._context.runtime_ctx.run.attempt,
            skipped=result.skipped,
            timestamp=result.timestamp.isoformat(),
            data=encoded(result.data, "its result's data"),
            rollback_data=encoded(result.rollback_data, "its result's rollback_data"),
            context=changed,
        )

    def _load(self) -> list[DoneStep]:
        try:
            file = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return []
        if _has_completed(self._context.runtime_ctx.run):
            return []  # its process was killed between that and forgetting
        if file["params"] != self._params:
            _log.info("all steps are done anew: the parameters are others than those of the attempt before")
            return []
        steps = [DoneStep(**step) for step in file["steps"]]
        known = list(itertools.takewhile(self._is_still_known, steps))
        others = [done.name for done in steps[len(known) :]]
        if others:
            _log.info("done anew, since they, or the steps before them, are others now: %s", ", ".join(others))
        return known

    def _is_still_known(self, done: DoneStep) -> bool:
        return self._kinds.get(done.name) == done.kind and done.before == self._before(done.name)

    def _save(self) -> None:
        with guard("remembering which steps are done"):
            try:
                self._write()
            except OSError:
                self._path.unlink(missing_ok=True)  # what it says is not true any more, and this needs no room
                raise

    def _write(self) -> None:
        if not self._done:
            self._path.unlink(missing_ok=True)
            return
        steps = [dataclasses.asdict(done) for done in self._done]
        # Not msgspec, as elsewhere: it refuses what is no UTF-8, and a file's name may be that.
        content = json.dumps({"params": self._params, "steps": steps})
        with replacing(self._path) as temporary:
            temporary.chmod(0o600)
            temporary.write_text(content, encoding="ascii")


def _fingerprint(context: BaseStepContext) -> str | None:
    """What two attempts have in common if action and parameters are the same; None where that can't be told."""
    started = context.runtime_ctx.run.state.started
    try:
        params = encoded(getattr(context, "params", None), "the context's params")
    except NotExact as reason:
        _log.info("the steps are not remembered for a later attempt: %s", reason)
        return None
    same = [started.action if started else None, params]
    return hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()


def _has_completed(run: Run) -> bool:
    """Whether the attempt before this one has: then this one is to do everything anew."""
    before = [one for one in read_history(cast("Path", run.directory)).attempts if one.number < run.attempt]
    return bool(before) and before[-1].status == "completed"


def _seen(context: BaseStepContext) -> dict[str, str | NotExact]:
    """The context's public attributes, but for the engine's own, as JSON; or why they can't be that."""
    names = dict.fromkeys([*vars(context), *(field.name for field in dataclasses.fields(context))])
    return {
        name: _json_or_why(getattr(context, name), name)
        for name in names
        if not name.startswith("_") and name not in _OWN and hasattr(context, name)
    }


def _json_or_why(value: Any, name: str) -> str | NotExact:
    try:
        return json.dumps(encoded(value, f"the context's {name}"))
    except NotExact as reason:
        return reason

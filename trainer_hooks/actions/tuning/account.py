"""What a search's run tells: how far it is, how its trials end, and which of them is the best."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from trainer_hooks.actions.results import plain_result
from trainer_hooks.actions.tuning.numbers import Numbers
from trainer_hooks.actions.tuning.order import Order
from trainer_hooks.actions.tuning.outcomes import Outcome, best_of, ended_outcome, read_outcome
from trainer_hooks.actions.tuning.params import TuneParams
from trainer_hooks.actions.tuning.spaces import closest, number_of_variants
from trainer_hooks.attempts import safe_name
from trainer_hooks.errors import ActionError
from trainer_hooks.history import read_history
from trainer_hooks.run import Run
from trainer_hooks.stopping import ask_to_stop

CATEGORY = "trials"  # predecessor A's name
_SOURCE = "search"
_STOPPING = ("running", "interrupted", "paused")  # of a trial that Ray is done with
_ENDS_WITHIN = 60.0
_LEAVES_WITHIN = 5.0


class Account:
    """Of one search, as its run tells it; a `ray.watch.Listener`."""

    def __init__(self, run: Run, search: TuneParams, order: Order) -> None:
        self._run = run
        self._order = order
        self.numbers = Numbers(Path(order.folder))
        self._total = search.tune_config.num_samples * number_of_variants(search.hyperparameters)
        self._over: set[int] = set()
        self._asked = False
        run.progress(0, self._total, CATEGORY)

    def ended(self, number: int) -> None:
        """Tell how the trial has ended."""
        outcome = read_outcome(self._directory(number), self._order.metric)
        status = "stopped" if outcome.status in _STOPPING else outcome.status
        reached = "" if outcome.value is None else f", {self._order.metric} {outcome.value:g}"
        reason = f": {outcome.reason}" if outcome.status in ("failed", "lost") else ""
        level = "WARNING" if reason or outcome.value is None else "INFO"
        told = {"trial": self._order.run_id(number), "hyperparameters": self.numbers.known[number]}
        self._run.log(f"trial {number} {status}{reached}{reason}", level, source=_SOURCE, **told)
        self._over.add(number)
        self._run.progress(min(len(self._over), self._total), self._total, CATEGORY)

    def waits(self, seconds: float) -> None:
        """Tell that trials wait for resources."""
        self._run.log(f"no trial has got its resources for {seconds:.0f} s", "WARNING", source=_SOURCE)

    def is_stopped(self) -> bool:
        """Whether the search's run is to stop; its trials are then asked to, each for the same reason."""
        if self._run.should_stop and not self._asked:
            self._asked = True
            self._ask_to_stop()
        return self._asked

    def leaves(self) -> None:
        """Give the trials the time to say why they end."""
        self._ask_to_stop()
        self._outcomes(within=_LEAVES_WITHIN)

    def conclude(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The result, and the best trial's metrics.

        Raises:
            ActionError: if there is no best one, and the search was not stopped; its run is then told as failed.
        """
        outcomes = self._outcomes(within=_ENDS_WITHIN)
        best = best_of(outcomes, self._order.mode)
        if best is None and not self._asked:
            self._fail(outcomes)
        rows = [self._row(number, outcome) for number, outcome in sorted(outcomes.items())]
        if best is None:
            return plain_result({"trials": rows}), {}
        told = outcomes[best]
        metrics = {**told.metrics, self._order.metric: told.value}
        return plain_result({**self._told(best, told, metrics), "trials": rows}), metrics

    def _told(self, number: int, outcome: Outcome, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """Of the best trial; `best_result` is predecessor A's name for its hyper-parameters."""
        model = {name: outcome.result[name] for name in ("model_id",) if name in outcome.result}
        return {
            "best_result": self.numbers.known[number],
            "best_run": self._order.run_id(number),
            "best_metrics": dict(metrics),
            **model,
        }

    def _row(self, number: int, outcome: Outcome) -> dict[str, Any]:
        row = {
            "run": self._order.run_id(number),
            "status": outcome.status,
            "hyperparameters": self.numbers.known[number],
            "value": outcome.value,
        }
        return {**row, **({"reason": outcome.reason} if outcome.reason else {})}

    def _fail(self, outcomes: Mapping[int, Outcome]) -> NoReturn:
        done = [outcome for outcome in outcomes.values() if outcome.is_sound]
        first = next(((n, o) for n, o in sorted(outcomes.items()) if not o.is_sound), None)
        failure = None
        if done and all(outcome.value is None for outcome in done):
            names = sorted(set().union(*(outcome.names for outcome in done)))
            metric = self._order.metric
            message = f"no trial has told {metric!r}, the metric of the search {closest(metric, names)}"
        elif done:
            message = f"{self._order.metric} has been no finite number in any trial that was not broken off"
        elif first is None:
            message = "no trial was begun"
        else:
            number, outcome = first
            failure = outcome.failure
            named = f"{self._order.run_id(number)}: {outcome.status}: {outcome.reason}"
            message = f"none of {len(outcomes)} trials has come to its end; the first, {named}"
        kind, trace = (failure.error, failure.traceback) if failure else (None, None)
        self._run.fail(message, error_type=kind, traceback_text=trace)
        raise ActionError(message)

    def _ask_to_stop(self) -> None:
        for directory in map(self._directory, self.numbers.known):
            if not read_outcome(directory, self._order.metric).is_over:
                ask_to_stop(directory, read_history(directory).latest.number, "the search is stopped")

    def _outcomes(self, within: float) -> dict[int, Outcome]:
        """Those of all trials, which have so many seconds in all to end."""
        deadline = time.monotonic() + within
        return {
            number: ended_outcome(self._directory(number), self._order.metric, within=deadline - time.monotonic())
            for number in self.numbers.known
        }

    def _directory(self, number: int) -> Path:
        return Path(self._order.settings.root, safe_name(self._order.run_id(number)))

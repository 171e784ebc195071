"""MLflow: a run with parameters, metrics at their steps and times, tags, and how it ended.

The run is found again by its tag `trainer_hooks.run`: exported anew, it gets what has come since, and nothing twice.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

from trainer_hooks.cli.exports.points import Point, missing, points_of
from trainer_hooks.history import RunHistory
from trainer_hooks.receiver.diffs import flatten

_RUN = "trainer_hooks.run"
_POINTS = "trainer_hooks.points"
# How much MLflow takes at once, and how long a parameter's value may be.
_METRICS_AT_ONCE, _PARAMS_AT_ONCE, _LONGEST = 1000, 100, 6000
_STATUS = {"completed": "FINISHED", "failed": "FAILED", "interrupted": "KILLED", "lost": "FAILED"}


class Exporter:
    """Writes runs into one experiment of a tracking server or store."""

    def __init__(self, uri: str, experiment: str) -> None:
        """`uri` is a tracking URI, as of a server or of SQLite.

        Raises:
            MissingPackage: if mlflow isn't installed.
        """
        try:
            from mlflow import MlflowClient
        except ImportError as error:
            raise missing("mlflow", error) from error
        self._client = MlflowClient(tracking_uri=uri)
        found = self._client.get_experiment_by_name(experiment)
        self._experiment = found.experiment_id if found else self._client.create_experiment(experiment)

    def write(self, history: RunHistory) -> str:
        """Write the run; returns its id in MLflow."""
        run = self._find(history) or self._create(history)
        self._params(run, history)
        self._metrics(run, history)
        self._tags(run.info.run_id, history)
        latest = history.latest
        if latest.status in _STATUS:
            self._client.set_terminated(run.info.run_id, _STATUS[latest.status], end_time=_milliseconds(latest.last))
        run_id: str = run.info.run_id
        return run_id

    def _find(self, history: RunHistory) -> Any:
        quoted = history.run.replace("\\", "\\\\").replace("'", "\\'")
        found = self._client.search_runs([self._experiment], f"tags.`{_RUN}` = '{quoted}'", max_results=1)
        return found[0] if found else None

    def _create(self, history: RunHistory) -> Any:
        began = _milliseconds(history.attempts[0].began)
        return self._client.create_run(
            self._experiment, start_time=began, tags={_RUN: history.run}, run_name=history.run
        )

    def _params(self, run: Any, history: RunHistory) -> None:
        from mlflow.entities import Param

        started = history.latest.state.started
        known = run.data.params  # which MLflow doesn't allow to change
        params = {_key(name): str(value)[:_LONGEST] for name, value in flatten(started.params if started else {})}
        new = [Param(name, value) for name, value in params.items() if name not in known]
        for some in _parts(iter(new), _PARAMS_AT_ONCE):
            self._client.log_batch(run.info.run_id, params=some)

    def _metrics(self, run: Any, history: RunHistory) -> None:
        from mlflow.entities import Metric, RunTag

        written = int(run.data.tags.get(_POINTS, 0))
        new = itertools.islice(points_of(history.directory), written, None)
        metrics = (Metric(_name(point), point.value, _milliseconds(point.time), point.step) for point in new)
        for some in _parts(metrics, _METRICS_AT_ONCE):
            written += len(some)
            # Together: what was written is known, also where the next call fails.
            self._client.log_batch(run.info.run_id, metrics=some, tags=[RunTag(_POINTS, str(written))])

    def _tags(self, run_id: str, history: RunHistory) -> None:
        from mlflow.entities import RunTag

        latest = history.latest
        tags = {"trainer_hooks.status": latest.status, "trainer_hooks.attempts": str(len(history.attempts))}
        tags |= {f"checkpoint.{_key(name)}": stored.uri for name, stored in latest.state.stored.items()}
        self._client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])


def _name(point: Point) -> str:
    return _key(point.metric if point.axis == "epoch" else f"{point.metric} iteration")


def _key(name: str) -> str:
    """As MLflow allows it: without parentheses (as Ultralytics' own callback for MLflow does), and `_` for the rest."""
    return re.sub(r"[^\w\-. :/]", "_", re.sub(r"[()]", "", name))[:250]


def _milliseconds(at: float) -> int:
    return round(at * 1000)


def _parts(items: Iterator[Any], size: int) -> Iterator[list[Any]]:
    while some := list(itertools.islice(items, size)):
        yield some

"""The index as others see it: asked after having been brought up to the journals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trainer_hooks.attempts import safe_name
from trainer_hooks.receiver.diffs import Differences, differences
from trainer_hooks.receiver.index.curves import Axis, Curve, MetricShown, curves_of, metrics_of
from trainer_hooks.receiver.index.database import Database
from trainer_hooks.receiver.index.following import Follower
from trainer_hooks.receiver.index.lists import Lists, RunList, Wanted
from trainer_hooks.receiver.index.logs import LogPage, LogsWanted, logs_of
from trainer_hooks.receiver.jobs import Jobs
from trainer_hooks.receiver.shown import RunShown, RunTold


class NoSuchRun(LookupError):
    """There is no run of that id."""


class Index:
    """Answers about the runs of a directory. Safe to use from any thread."""

    def __init__(self, root: Path, file: Path, jobs: Jobs, heartbeat: float) -> None:
        """`file` is made where it isn't there; `heartbeat` is how many seconds lie between two signs of life."""
        self._root = root
        self._database = Database(file)
        self._follower = Follower(root, self._database)
        self._lists = Lists(root, jobs, heartbeat)

    def catch_up(self) -> None:
        """Bring the index up to all journals; a large directory takes minutes the first time."""
        self._follower.follow_all()

    def runs(self, wanted: Wanted) -> RunList:
        """A list of runs."""
        self.catch_up()
        with self._database.connect() as connection:
            self._lists.settle(connection)
            return self._lists.find(connection, wanted)

    def of_job(self, job: str) -> list[RunShown]:
        """The runs of a job, the newest first."""
        return self.runs(Wanted(job=job, limit=100)).runs

    def run(self, run: str) -> RunTold:
        """One run with its attempts.

        Raises:
            NoSuchRun: if there is none.
        """
        self._follow(run)
        with self._database.connect() as connection:
            told = self._lists.get(connection, run)
        if told is None:
            raise NoSuchRun(run)
        return told

    def metrics(self, run: str) -> list[MetricShown]:
        """The metrics of a run.

        Raises:
            NoSuchRun: if there is none.
        """
        self.run(run)
        with self._database.connect() as connection:
            return metrics_of(connection, run)

    def curves(
        self, run: str, names: Sequence[str], axis: Axis | None, points: int, within: tuple[int, int] | None
    ) -> list[Curve]:
        """Curves of a run; see `curves_of`.

        Raises:
            NoSuchRun: if there is none.
        """
        self.run(run)
        with self._database.connect() as connection:
            return curves_of(connection, run, names, axis, points, within)

    def logs(self, run: str, wanted: LogsWanted) -> LogPage:
        """Log records of a run.

        Raises:
            NoSuchRun: if there is none.
        """
        self.run(run)
        with self._database.connect() as connection:
            return logs_of(connection, run, wanted)

    def diff(self, runs: Sequence[str]) -> Differences:
        """Where the parameters of the newest attempts of these runs differ.

        Raises:
            NoSuchRun: if one of them isn't there.
        """
        return differences({run: self.run(run).attempts[-1].params for run in runs})

    def directory(self, run: str) -> Path:
        """Where a run's journal is.

        Raises:
            NoSuchRun: if there is none.
        """
        self.run(run)
        return self._root / safe_name(run)

    def _follow(self, run: str) -> None:
        self._follower.follow(self._root / safe_name(run))

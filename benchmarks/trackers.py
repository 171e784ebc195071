"""Trackers, each by its own calls: begin a run and log steps, against a server or on disk; and what a disk then holds.

    python trackers.py NAME MODE STEPS SPACING      in a folder of its own; prints what takes how long, as JSON lines

MODE is "served", with the server's address in TRACKER_SERVER, or "kept", which ends by SIGKILL behind the last step.
`python trackers.py NAME count` prints how many steps can be read from the folder afterwards.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

SCALARS = [f"m{number}" for number in range(5)]
_never = threading.Event()
_KEY = "0" * 40


class Tracker(ABC):
    """A tracker. `server` is None where everything stays on this disk."""

    @abstractmethod
    def begin(self, server: str | None) -> None:
        """Open a run."""

    @abstractmethod
    def log(self, values: dict[str, float], step: int) -> None:
        """Log a step."""

    @abstractmethod
    def count(self) -> int:
        """How many steps are on the disk, as its own tools would read them."""


class _Ours(Tracker):
    """trainer_hooks; delivered by its courier where there is a server."""

    def begin(self, server: str | None) -> None:
        from trainer_hooks import start_run

        more = {"callback_url": f"{server}/api/v1", "job_id": "7"} if server else {}
        self._run = start_run(directory="runs", **more).__enter__()

    def log(self, values: dict[str, float], step: int) -> None:
        self._run.log_metrics(values, iteration=step)

    def count(self) -> int:
        from trainer_hooks.events import MetricsLogged
        from trainer_hooks.journal import read_records

        (run,) = (path for path in Path("runs").iterdir() if (path / "journal").is_dir())
        return sum(isinstance(record.event, MetricsLogged) for record in read_records(run))


class _MLflow(Tracker):
    """MLflow's client, on disk with SQLite."""

    synchronous = True

    def begin(self, server: str | None) -> None:
        import mlflow

        mlflow.set_tracking_uri(server or "sqlite:///mlflow.db")
        self._run = mlflow.start_run()

    def log(self, values: dict[str, float], step: int) -> None:
        import mlflow

        mlflow.log_metrics(values, step=step, synchronous=self.synchronous)

    def count(self) -> int:
        return _sqlite(Path("mlflow.db"), "SELECT COUNT(DISTINCT step) FROM metrics WHERE key = 'm4'")


class _AsyncMLflow(_MLflow):
    """The same with `synchronous=False`."""

    synchronous = False


class _WandB(Tracker):
    """W&B's client, offline on disk."""

    def begin(self, server: str | None) -> None:
        import wandb

        os.environ |= {"WANDB_SILENT": "true", "WANDB_API_KEY": _KEY} | ({"WANDB_BASE_URL": server} if server else {})
        self._run = wandb.init(project="p", mode="online" if server else "offline")

    def log(self, values: dict[str, float], step: int) -> None:
        self._run.log(values, step=step)

    def count(self) -> int:
        from swanlab.converter.wb.wbdatastore import DataStoreTruncatedError, WBDataStoreReader
        from wandb.proto import wandb_internal_pb2

        reader = WBDataStoreReader()  # SwanLab's, since W&B's own is not Python any more
        reader.open(next(Path("wandb").glob("offline-run-*/*.wandb")))
        found = 0
        try:
            while (content := reader.scan()) is not None:
                record = wandb_internal_pb2.Record()
                record.ParseFromString(content)
                found += record.HasField("history")
        except DataStoreTruncatedError:
            pass
        return found


class _ClearML(Tracker):
    """ClearML's SDK, in its offline mode on disk."""

    def begin(self, server: str | None) -> None:
        hosts = {f"CLEARML_{kind}_HOST": server for kind in ("API", "WEB", "FILES")} if server else {}
        os.environ |= {"CLEARML_API_ACCESS_KEY": _KEY, "CLEARML_API_SECRET_KEY": _KEY, **hosts}
        from clearml import Task

        Task.set_offline(not server)
        self._logger = Task.init("p", "t", auto_connect_frameworks=False).get_logger()

    def log(self, values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            self._logger.report_scalar(name, name, value, step)

    def count(self) -> int:
        (metrics,) = Path(os.environ["HOME"]).rglob("metrics.jsonl")
        events = [event for line in metrics.read_text().splitlines() for event in json.loads(line)]
        return len({event["iter"] for event in events if event.get("metric") == "m4"})


class _SwanLab(Tracker):
    """SwanLab's client, offline on disk."""

    def begin(self, server: str | None) -> None:
        os.environ |= {"SWANLAB_API_KEY": _KEY} | ({"SWANLAB_API_HOST": server} if server else {})
        import swanlab

        self._run = swanlab.init(project="p", mode="online" if server else "offline")

    def log(self, values: dict[str, float], step: int) -> None:
        self._run.log(values, step=step)

    def count(self) -> int:
        from swanlab.proto.swanlab.record.v1.record_pb2 import Record
        from swanlab.sdk.internal.core_python.store import DataStoreReader

        reader = DataStoreReader()
        reader.open(next(path for path in Path("swanlog").rglob("*.swanlab")))
        steps = set()
        for content in reader:
            record = Record()
            record.ParseFromString(content)
            if record.HasField("scalar"):
                steps.add(record.scalar.step)
        return len(steps)


class _Trackio(Tracker):
    """Trackio's client, on disk in its own SQLite database."""

    def begin(self, server: str | None) -> None:
        os.environ["TRACKIO_WRITE_TOKEN"] = _KEY
        import trackio

        self._trackio = trackio
        trackio.init(project="p", **({"server_url": server} if server else {}))

    def log(self, values: dict[str, float], step: int) -> None:
        self._trackio.log(values, step=step)

    def count(self) -> int:
        from trackio.sqlite_storage import SQLiteStorage

        (run,) = SQLiteStorage.get_runs("p") or [None]
        return len(SQLiteStorage.get_logs("p", run)) if run else 0


TRACKERS: dict[str, Callable[[], Tracker]] = {
    "trainer_hooks": _Ours,
    "MLflow": _MLflow,
    "MLflow, asynchronous": _AsyncMLflow,
    "W&B": _WandB,
    "ClearML": _ClearML,
    "SwanLab": _SwanLab,
    "Trackio": _Trackio,
}


def _sqlite(path: Path, query: str) -> int:
    with sqlite3.connect(path) as connection:
        return int(connection.execute(query).fetchone()[0])


def _told(**figures: Any) -> None:
    sys.stdout.write(json.dumps(figures) + "\n")
    sys.stdout.flush()


def _run(name: str, mode: str, steps: int, spacing: float) -> None:
    tracker = TRACKERS[name]()
    began = time.perf_counter()
    tracker.begin(os.environ["TRACKER_SERVER"] if mode == "served" else None)
    _told(begin=time.perf_counter() - began)
    for step in range(steps):
        _never.wait(spacing)
        began = time.perf_counter()
        tracker.log(dict.fromkeys(SCALARS, 0.5 + step), step)
        if mode == "served":
            _told(log=time.perf_counter() - began)
    if mode == "kept":
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    if sys.argv[2] == "count":
        _told(count=TRACKERS[sys.argv[1]]().count())
    else:
        _run(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))

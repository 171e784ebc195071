"""What MMEngine's own visualization backends cost a training, beside ours: per iteration, and per epoch besides.

    make bench-peers        in an environment of its own, with TensorBoard, MLflow, ClearML and W&B

A real training of a tiny model, each backend in processes of its own, in turn. Timed is `call_hook` from outside: all
hooks of an iteration, and all others of an epoch. LoggerHook logs every iteration, as it is asked to by all of them;
ours forwards every iteration's metrics, too, or only the epochs'. What LoggerHook costs without any backend, its text
log included, is taken off. ClearML and W&B are offline; ours writes to its journal, and a courier reads along.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from measuring import ROOT, Row, clean_environment, main, percentile, rotated, with_range

EPOCHS = 10
ROUNDS = 3
ALONE = "LoggerHook alone"
OURS = "trainer_hooks"
BACKENDS: dict[str, list[dict[str, Any]]] = {
    ALONE: [],
    "LocalVisBackend": [{"type": "LocalVisBackend"}],
    "TensorboardVisBackend": [{"type": "TensorboardVisBackend"}],
    "MLflowVisBackend": [{"type": "MLflowVisBackend"}],
    "ClearMLVisBackend, offline": [{"type": "ClearMLVisBackend"}],
    "WandbVisBackend, offline": [{"type": "WandbVisBackend"}],
    f"{OURS}, every iteration": [],
    f"{OURS}, epochs only": [],
}
_OF_ITERATIONS = ("before_train_iter", "after_train_iter")
_OFFLINE = {
    "CLEARML_OFFLINE_MODE": "1",
    "MLFLOW_ALLOW_FILE_STORE": "true",  # where MMEngine puts it by default
    "WANDB_MODE": "offline",
    "WANDB_SILENT": "true",
}


def measure(folder: Path) -> Iterator[Row]:
    """A row for each backend; medians of the rounds, the first of which doesn't count."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in BACKENDS}
    for number in range(ROUNDS + 1):
        for name, _ in rotated(BACKENDS, number):
            times = _run(name, folder / f"{number}-{list(BACKENDS).index(name)}")
            if number:
                found[name].append(times)
    alone = {what: statistics.median(times[what] for times in found[ALONE]) for what in ("iteration", "epoch")}
    for name, rounds in found.items():
        off = dict.fromkeys(alone, 0.0) if name == ALONE else alone
        texts = [
            f"{what} {with_range([times[what] - off[what] for times in rounds], 'µs', 1e-3)}"
            for what in ("iteration", "epoch")
        ]
        more = "" if name == ALONE else " more"
        yield Row(f"MMEngine, {name}", f"p50 of an {' and of an '.join(texts)}{more}")


def _run(name: str, folder: Path) -> dict[str, float]:
    folder.mkdir(parents=True)
    environment = clean_environment(**_OFFLINE, TRAINER_HOOKS_DIR=str(folder / "runs"), HOME=str(folder))
    command = [sys.executable, __file__, "--one", name, str(folder)]
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    if not (folder / "times.json").exists():
        raise RuntimeError(f"{name}: {done.stderr[-2000:]}")  # noqa: EM102
    times: dict[str, float] = json.loads((folder / "times.json").read_text())
    return times


def _train_one(name: str, folder: Path) -> None:
    """In a process of its own: train with that backend, and write the medians."""
    from mmengine.runner import Runner

    from tests.hosts.mmengine import config

    if name.startswith(OURS):
        import trainer_hooks

        trainer_hooks.autolog("mmengine", iteration_metrics=int("every" in name))
    runner = Runner.from_cfg(
        config(
            folder,
            EPOCHS,
            default_hooks={"logger": {"type": "LoggerHook", "interval": 1}, "checkpoint": None},
            visualizer={"type": "Visualizer", "name": "visualizer", "vis_backends": BACKENDS[name]},
        )
    )
    iterations, epochs = _timed(runner)
    runner.train()
    # The first epoch begins what is begun once.
    times = {
        "iteration": percentile(iterations[len(iterations) // EPOCHS :], 0.5),
        "epoch": percentile(epochs[1:], 0.5),
    }
    (folder / "times.json").write_text(json.dumps(times))
    sys.stdout.flush()
    os._exit(0)  # some backends take long to leave


def _timed(runner: Any) -> tuple[list[int], list[int]]:
    """Ns of each iteration's announcements, and of the others of each epoch, while it trains."""
    announce = runner.call_hook
    iterations: list[int] = []
    epochs: list[int] = []
    current = {"iteration": 0, "epoch": 0}

    def timed(event: str, **options: Any) -> None:
        begun = time.perf_counter_ns()
        announce(event, **options)
        current["iteration" if event in _OF_ITERATIONS else "epoch"] += time.perf_counter_ns() - begun
        if event == "after_train_iter":
            iterations.append(current["iteration"])
            current["iteration"] = 0
        if event == "after_val":
            epochs.append(current["epoch"])
            current["epoch"] = 0

    runner.call_hook = timed
    return iterations, epochs


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        sys.path.insert(0, str(ROOT))
        _train_one(sys.argv[2], Path(sys.argv[3]))
    main(measure)

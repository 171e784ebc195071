"""What mirroring to ClearML costs a training, beside ClearML's own ways, against one server on loopback.

An epoch on the training's thread: ours with the mirror on, and the functions of Ultralytics' own callback, which calls
the SDK's `report_scalar`. An epoch altogether: with all that their threads take of the interpreter meanwhile. And how
long a script keeps its process at the end: with a server that is there, one that goes away before the end, and one that
has never been there. What doesn't end is killed.
"""

from __future__ import annotations

import contextlib
import json
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from measuring import Row, clean_environment, main, percentile, rotated, with_range

ROUNDS = 4
EXITS = 3
PATIENCE = 45.0
HERE = Path(__file__).parent
OURS = """
import sys, time, trainer_hooks

with trainer_hooks.start_run(clearml=True, log_level="OFF") as run:
    run.log_metrics({"train/loss": 1.0}, epoch=1)
    if sys.argv[1] == "reached":
        run.flush(30)
    print("ready", flush=True)
    sys.stdin.readline()
    run.log_metrics({"train/loss": 0.5}, epoch=2)
print(flush=True)
"""
THEIRS = """
import sys
from clearml import Task

task = Task.init(project_name="p", task_name="t", auto_connect_frameworks=False, auto_resource_monitoring=False)
task.get_logger().report_scalar("loss", "train", value=1.0, iteration=1)
if sys.argv[1] == "reached":
    task.flush(wait_for_uploads=True)
print("ready", file=sys.stderr, flush=True)
sys.stdin.readline()
task.get_logger().report_scalar("loss", "train", value=0.5, iteration=2)
"""


def measure(folder: Path) -> Iterator[Row]:
    """Epochs, then exits."""
    yield from _epochs(folder)
    yield from _exits(folder)


def _epochs(folder: Path) -> Iterator[Row]:
    found: dict[str, list[dict[str, list[float]]]] = {"none": [], "built-in": [], "ours": []}
    with _server() as (_, port):
        for number in range(ROUNDS):
            for how, _rounds in rotated({how: how for how in found}, number):
                found[how].append(_train(folder / f"{how}-{number}", how, port))
    titles = {"built-in": "Ultralytics' own callback", "ours": "trainer_hooks, mirrored"}
    for how, title in titles.items():
        middles = [percentile(each["taken"], 0.5) for each in found[how]]
        pooled = [taken for each in found[how] for taken in each["taken"]]
        text = f"p50 {with_range(middles, 'µs', 1e-3)}, p99 {percentile(pooled, 0.99) / 1e3:,.0f} µs"
        yield Row(f"an epoch on the training's thread, {title}", text)
    bare = [statistics.median(each["whole"]) for each in found["none"]]
    yield Row("an epoch altogether, without either", with_range(bare, "ms", 1e3))
    for how, title in titles.items():
        wholes = [statistics.median(each["whole"]) for each in found[how]]
        ratio = statistics.median(wholes) / statistics.median(bare)
        yield Row(f"an epoch altogether, {title}", f"{ratio:.2f} x: {with_range(wholes, 'ms', 1e3)}")


def _train(folder: Path, how: str, port: int) -> dict[str, list[float]]:
    folder.mkdir(parents=True)
    command = [sys.executable, str(HERE / "clearml_training.py"), str(folder), how]
    done = subprocess.run(
        command, env=_environment(folder, port), capture_output=True, text=True, timeout=300, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    found: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def _exits(folder: Path) -> Iterator[Row]:
    for case in ("there", "gone before the end", "never there"):
        for title, script in (("the SDK", THEIRS), ("trainer_hooks", OURS)):
            taken = [_exit_time(folder / f"{case}-{title}-{number}", script, case) for number in range(EXITS)]
            ended = [seconds for seconds in taken if seconds is not None]
            still_there = len(taken) - len(ended)
            texts = [with_range(ended, "s")] if ended else []
            texts += [f"{still_there} of {len(taken)} not ended after {PATIENCE:g} s"] if still_there else []
            yield Row(f"exit, the server {case}, {title}", "; ".join(texts))


def _exit_time(folder: Path, script: str, case: str) -> float | None:
    """Seconds from the last word to the end of the process; where nobody is there, from its start. None for never."""
    folder.mkdir(parents=True)
    with contextlib.ExitStack() as stack:
        server, port = stack.enter_context(_server())
        if case == "never there":
            _end(server)
        process = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-c", script, "never" if case == "never there" else "reached"],
                env=_environment(folder, port),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        began = time.monotonic()
        stack.callback(process.kill)
        ready = process.stderr if script is THEIRS else process.stdout
        if case != "never there":
            for line in ready or ():
                if "ready" in line:
                    break
            if case != "there":
                _end(server)
            began = time.monotonic()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate("\n", timeout=PATIENCE)
            return time.monotonic() - began
    return None


@contextlib.contextmanager
def _server() -> Iterator[tuple[subprocess.Popen[str], int]]:
    with subprocess.Popen(
        [sys.executable, str(HERE / "clearml_server.py")], stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            yield server, int(server.stdout.readline()) if server.stdout else 0
        finally:
            _end(server)


def _end(server: subprocess.Popen[str]) -> None:
    server.send_signal(signal.SIGTERM)
    server.wait(10)


def _environment(folder: Path, port: int) -> dict[str, str]:
    url = f"http://127.0.0.1:{port}"
    config = folder / "clearml.conf"
    # Its default, a forked reporter, does not end in three of five exits.
    config.write_text("sdk { development { report_use_subprocess: false } }\n")
    return clean_environment(
        TRAINER_HOOKS_DIR=str(folder / "runs"),
        TRAINER_HOOKS_LINGER="1",
        CLEARML_CONFIG_FILE=str(config),
        CLEARML_CACHE_DIR=str(folder / "cache"),
        CLEARML_API_HOST=url,
        CLEARML_WEB_HOST=url,
        CLEARML_FILES_HOST=url,
        CLEARML_API_ACCESS_KEY="key",
        CLEARML_API_SECRET_KEY="secret",  # noqa: S106 - the server looks at none
    )


if __name__ == "__main__":
    main(measure)

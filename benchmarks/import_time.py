"""What importing costs over a bare Python, in processes of their own, in turn; and that nothing heavy comes along."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from measuring import Row, clean_environment, main, rotated, with_range

ROUNDS = 25
HEAVY = ("torch", "boto3", "botocore", "requests", "clearml", "ultralytics", "mmengine", "numpy")
BUDGET = "≤ 30 ms, none of torch, boto3, requests, clearml"
CASES = {
    "pass": "pass",
    "import trainer_hooks": "import trainer_hooks",
    "from trainer_hooks import autolog": "from trainer_hooks import autolog",
    "from trainer_hooks import start_run": "from trainer_hooks import start_run",
}


def measure(folder: Path) -> Iterator[Row]:
    """The rows; a difference is taken within each round."""
    walls: dict[str, list[float]] = {name: [] for name in CASES}
    processor: dict[str, list[float]] = {name: [] for name in CASES}
    for number in range(ROUNDS + 1):
        for name, code in rotated(CASES, number):
            begun, spent = time.perf_counter(), _of_children()
            _python(code, folder)
            if number:
                walls[name].append(time.perf_counter() - begun)
                processor[name].append(_of_children() - spent)
    for name in list(CASES)[1:]:
        over, on_processor = _over(walls, name), _over(processor, name)
        heavy = _heavy(CASES[name], folder)
        text = (
            f"{over * 1e3:.1f} ms over {with_range(walls['pass'], 'ms', 1e3)}, on the processor "
            f"{on_processor * 1e3:.1f} ms; heavy: {', '.join(heavy) or 'none'}"
        )
        budgeted = name == "import trainer_hooks"
        yield Row(name, text, BUDGET if budgeted else "", (over <= 0.03 and not heavy) if budgeted else None)
    yield Row("the dearest in `from trainer_hooks import autolog`", _dearest(folder))


def _over(seconds: dict[str, list[float]], name: str) -> float:
    return statistics.median(ours - bare for ours, bare in zip(seconds[name], seconds["pass"], strict=True))


def _of_children() -> float:
    """Seconds that this process's ended children have spent on a processor."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _heavy(code: str, folder: Path) -> list[str]:
    loaded = _python(f"import sys\n{code}\nprint(*sys.modules)", folder).stdout.split()
    return [name for name in HEAVY if name in loaded]


def _dearest(folder: Path) -> str:
    """Each module's own time, of ten runs with -X importtime the least."""
    least: dict[str, int] = {}
    for _ in range(10):
        for line in _python(CASES["from trainer_hooks import autolog"], folder, "-X", "importtime").stderr.splitlines():
            own, _, name = line.removeprefix("import time:").split("|")
            if own.strip().isdigit():
                least[name.strip()] = min(int(own), least.get(name.strip(), 1 << 30))
    first = sorted(least.items(), key=lambda item: -item[1])[:6]
    return ", ".join(f"{name} {own / 1e3:.1f} ms" for name, own in first)


def _python(code: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *options, "-c", code],
        cwd=folder,
        env=clean_environment(),
        check=True,
        capture_output=True,
        text=True,
    )


if __name__ == "__main__":
    main(measure)

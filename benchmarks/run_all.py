"""Run the benchmarks, each in a process of its own, and write every budget beside what was measured.

    python benchmarks/run_all.py                 all of them, into docs/benchmarks.md
    python benchmarks/run_all.py emit staging    some of them; nothing is written

Each can be run by itself, too: `python benchmarks/emit.py`.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from measuring import ROOT, Row, shown, verdict

HERE = Path(__file__).resolve().parent
REPORT = ROOT / "docs" / "benchmarks.md"
BENCHMARKS = (
    "emit",
    "epoch_callback",
    "iteration_hook",
    "import_time",
    "first_event",
    "staging",
    "memory",
    "courier_rate",
    "clearml_mirror",
    "exit_time",
    "storage",
    "dataset_fetch",
)
"""In the order of the report; one that isn't there is left out."""
_PEERS = "## Beside MMEngine's own backends"
Found = Mapping[str, tuple[float, Sequence[Row]]]


def main() -> None:
    """The command line."""
    there = [name for name in BENCHMARKS if (HERE / f"{name}.py").exists()]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(there)}")
    names = parser.parse_args().names
    if unknown := sorted(set(names) - set(there)):
        parser.error(f"there is no benchmark {', '.join(unknown)}")
    found: dict[str, tuple[float, Sequence[Row]]] = {}
    # What other commands have measured stays: `make bench-peers` needs an environment of its own.
    _, heading, text = REPORT.read_text().partition(_PEERS) if REPORT.exists() else ("", "", "")
    for name in names or there:
        found[name] = _run(name)
        if not names:  # each time: the rest takes a while, and may break off
            REPORT.write_text("\n".join([*_report(found), heading + text]).rstrip() + "\n")
            print(f"written to {REPORT.relative_to(ROOT)}")


def _run(name: str) -> tuple[float, Sequence[Row]]:
    """One benchmark's rows, and how many processes were waiting for a processor on average while it ran."""
    print(f"\n{name}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.json"
        command = [sys.executable, str(HERE / f"{name}.py"), "--rows", str(rows)]
        began = os.getloadavg()[0]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        read = [Row(**row) for row in json.loads(rows.read_text())] if rows.exists() else []
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no word"])[-1]
        read.append(Row(name, f"broke off, exit status {done.returncode}: {last}"))
    for row in read:
        print(shown(row), flush=True)
    return (began + os.getloadavg()[0]) / 2, read


def _report(found: Found) -> Iterator[str]:
    yield "# Benchmarks\n"
    yield "Written by `make bench` (`python benchmarks/run_all.py`); one alone: `python benchmarks/emit.py`.\n"
    yield "- date: " + time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    yield f"- machine: {machine()}"
    yield f"- Python {platform.python_version()}, Linux {platform.release()}\n"
    yield (
        "A figure is the median over the rounds, its range behind it in parentheses. What is compared ran in turn "
        "within each round. Load is the machine's load average meanwhile: where it is above the number of processors, "
        "times are waits as much as work.\n"
    )
    yield "| what | budget | measured | verdict |\n|---|---|---|---|"
    for _, rows in found.values():
        for row in rows:
            yield f"| {row.what} | {row.budget or '-'} | {row.measured} | {verdict(row) or '-'} |"
    yield "\n## What each one does\n"
    for name, (load, _) in found.items():
        text = ast.get_docstring(ast.parse((HERE / f"{name}.py").read_text())) or ""
        yield f"**{name}** (load {load:.1f}). {_first_paragraphs(text)}\n"


def _first_paragraphs(docstring: str) -> str:
    """The docstring without its indented examples, as one paragraph."""
    plain = [part for part in docstring.split("\n\n") if not part.startswith("    ")]
    return " ".join(" ".join(plain).split())


def machine() -> str:
    """The processors and the memory, in words."""
    described = Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*: (.*)", described)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return f"{os.cpu_count()} x {model[1] if model else platform.machine()}, {memory:.0f} GB"


if __name__ == "__main__":
    main()

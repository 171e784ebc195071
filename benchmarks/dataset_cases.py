"""Every edge case of tests/datasets/cases given to this package and to the tools that users would otherwise pick.

    make bench-datasets                                      all of them, into docs/datasets-cases.md
    python benchmarks/dataset_cases.py --peers globox        some of them; nothing is written
    python benchmarks/dataset_cases.py --cases C06 L11 --why

Judges are the trainers' own loaders (Ultralytics' checker and YOLODataset, pycocotools and its COCOeval), and values
known beforehand. Each conversion runs in a process of its own, with bounds on its time and memory. Peers are called as
their documentation says. What a peer leaves to its user is done for it: images are placed, data.yaml is written, its
labels get the names that they stand for. The order of classes and splits counts for us only.
"""

from __future__ import annotations

import argparse
import collections
import copy
import json
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import dataset_peers
from dataset_peers import Peer
from measuring import ROOT

from tests.datasets.cases import ALL, COMPARED, FURTHER, LABELME_TARGETS
from tests.datasets.cases.model import Case, Expected
from tests.datasets.oracles import verdict

PAGE = ROOT / "docs" / "datasets-cases.md"
OURS = "trainer_hooks"
_WITHIN = 90.0
_MEMORY = 12 << 30
# What a program raises by accident, not to tell its user something.
_ACCIDENTS = (ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, NameError, TypeError)
_MARKS = {
    "✓": "right, or refused with a clear error where that is as good",
    "✗": "wrong, and nothing said",
    "R": "refused, though it can be converted",
    "!": "broke off by accident (e.g. KeyError), or ran out of time or memory",
    "-": "not offered",
}
Outcome = tuple[str, str]
"""A mark, and why."""
Table = Mapping[str, Mapping[str, Outcome]]
"""By peer and by case."""


def outcome(case: Case, peer: Peer) -> Outcome:
    """What comes of that case, in a process of its own."""
    conversion = peer.conversions.get((case.source, case.target, case.task))
    if conversion is None or not (case.peers or peer.name == OURS):
        return "-", ""
    with tempfile.TemporaryDirectory(prefix="case-") as folder:
        told = Path(folder) / "told.json"
        work = Path(folder) / "work"
        process = multiprocessing.get_context("fork").Process(target=_in_child, args=(case, peer, work, told))
        process.start()
        process.join(_WITHIN)
        if process.is_alive():
            process.kill()
            process.join()
            return "!", f"not done within {_WITHIN:g} s"
        if not told.exists():
            return "!", f"the process ended with {process.exitcode}"
        mark, why = json.loads(told.read_text())
    return mark, why


def _in_child(case: Case, peer: Peer, work: Path, told: Path) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    with Path(os.devnull).open("w") as nothing:
        os.dup2(nothing.fileno(), 1)
        os.dup2(nothing.fileno(), 2)
    source, expected = case.make(work)
    if peer.name != OURS:
        expected = _for_peers(case, expected)
    os.chdir(work)
    told.write_text(json.dumps(_judged(case, peer, source, expected)))


def _judged(case: Case, peer: Peer, source: Path, expected: Expected) -> Outcome:
    before = verdict.snapshot(source)
    out = source.parent / "out"
    conversion = peer.conversions[case.source, case.target, case.task]
    made, failed = None, None
    try:
        conversion.run(source, out, **case.arguments)
        made = conversion.finish(source, out)
    except (Exception, SystemExit) as error:  # noqa: BLE001  # whatever a peer raises is its outcome
        failed = error
    if strays := verdict.strays(source.parent, expected):
        return "✗", f"wrote outside: {sorted(strays)}"
    if verdict.snapshot(source) != before:
        return "✗", "changed its source"
    if failed is not None or made is None:
        return _of_error(failed, expected)
    try:
        wrong = verdict.faults(case, expected, source, made)
    except Exception as error:  # noqa: BLE001  # a loader that breaks off takes it as little
        wrong = [f"{type(error).__name__}: {error}"]
    return ("✗", "; ".join(wrong)) if wrong else ("✓", "")


def _of_error(error: BaseException | None, expected: Expected) -> Outcome:
    why = f"{type(error).__name__}: {error}"
    if isinstance(error, _ACCIDENTS):
        return "!", why
    return ("R", why) if expected.refusal == "never" else ("✓", why)


def _for_peers(case: Case, expected: Expected) -> Expected:
    """What isn't asked of peers: an order of the classes, splits, and more than the split for training."""
    eased = copy.copy(expected)
    if case.source == "yolo":
        eased.dropped = expected.dropped | {path for path, split in expected.splits.items() if split != "train"}
    eased.classes, eased.splits = None, {}
    return eased


def _table(peers: Sequence[Peer], cases: Sequence[Case], *, why: bool) -> Table:
    table: dict[str, dict[str, Outcome]] = {}
    for peer in peers:
        row = table[peer.name] = {}
        for case in cases:
            row[case.key] = outcome(case, peer)
            if why and row[case.key][0] not in "✓-":
                print(f"{peer.name} {case.key} {' '.join(row[case.key])}", flush=True)
        marks = collections.Counter(mark for mark, _ in row.values())
        print(f"{peer.name} {peer.version}: " + ", ".join(f"{marks[mark]} {mark}" for mark in _MARKS), flush=True)
    return table


def _page(table: Table, peers: Sequence[Peer]) -> Iterator[str]:
    yield "# Edge cases of datasets\n"
    yield "Written by `make bench-datasets` (`python benchmarks/dataset_cases.py`), " + time.strftime("%Y-%m-%d.\n")
    yield " ".join((__doc__ or "").split("\n\n")[-1].split()) + "\n"
    yield from (f"- {mark}: {meaning}" for mark, meaning in _MARKS.items())
    yield "\nVersions: " + ", ".join(f"{peer.name} {peer.version}" for peer in peers) + ".\n"
    yield "## The 55 on which the tools were compared\n"
    yield from _part(table, COMPARED)
    yield "\n## LabelMe again: outlines (s), COCO with boxes (c) and outlines (cs)\n"
    yield from _part(table, LABELME_TARGETS)
    yield "\n## Further cases\n"
    yield from _part(table, FURTHER)


def _part(table: Table, cases: Sequence[Case]) -> Iterator[str]:
    offered = [name for name, row in table.items() if any(row[case.key][0] != "-" for case in cases)]
    yield "| case | " + " | ".join(offered) + " |"
    yield "|---" * (len(offered) + 1) + "|"
    conversion = None
    for case in cases:
        if conversion != (conversion := (case.source, case.target, case.task)):
            yield f"| **{case.source} to {case.target}, {case.task}** |" + " |" * len(offered)
        yield f"| {case.key} {case.title} | " + " | ".join(table[name][case.key][0] for name in offered) + " |"
    counts = []
    for name in offered:
        marks = [table[name][case.key][0] for case in cases]
        counts.append(f"{marks.count('✓')} of {len(marks) - marks.count('-')}")
    yield "| **right** | " + " | ".join(f"**{count}**" for count in counts) + " |"


def _peers(names: Sequence[str]) -> Iterator[Peer]:
    for name in sorted(names, key=lambda name: name != OURS):
        peer = dataset_peers.load(name)
        if isinstance(peer, str):
            print(f"left out: {name}, which lacks {peer}")
        else:
            yield peer


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", nargs="+", choices=dataset_peers.modules(), metavar="PEER", help="only these")
    parser.add_argument("--cases", nargs="+", metavar="CASE", help="only those whose keys begin so, e.g. C L1")
    parser.add_argument("--why", action="store_true", help="say of each case what is wrong")
    options = parser.parse_args()
    os.environ["YOLO_OFFLINE"] = "1"
    cases = [case for case in ALL if case.key.startswith(tuple(options.cases or [""]))]
    peers = list(_peers(options.peers or dataset_peers.modules()))
    table = _table(peers, cases, why=options.why)
    if not options.peers and not options.cases:
        PAGE.write_text("\n".join(_page(table, peers)) + "\n", encoding="utf-8")
        print(f"written to {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()

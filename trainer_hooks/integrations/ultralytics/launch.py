"""A multi-GPU training happens in processes that Ultralytics launches from a file it writes: they tell, too."""

from __future__ import annotations

from pathlib import Path

from trainer_hooks.files import write_whole


def teach(program: Path, directory: str, attempt: int) -> None:
    """Have the processes that are launched from this file tell that run (see `Run.hand_over`)."""
    write_whole(program, _taught(program.read_text(encoding="utf-8"), directory, attempt).encode())


def _taught(program: str, directory: str, attempt: int) -> str:
    """The launched program with a line of ours, behind the one that makes our package importable there."""
    ours = (
        "    with __import__('contextlib').suppress(Exception):\n"
        f"        __import__('trainer_hooks.autologging').autologging.join('ultralytics', {directory!r}, {attempt})\n"
    )
    lines = program.splitlines(keepends=True)
    starts = ("    sys.path =", "if __name__")
    behind = next(
        (place for start in starts for place, line in enumerate(lines, 1) if line.startswith(start)), len(lines)
    )
    return "".join([*lines[:behind], ours, *lines[behind:]])

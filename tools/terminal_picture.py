"""Take the picture of `trainer-hooks runs watch` in docs/images: `python tools/terminal_picture.py RUNS`.

RUNS is a directory where a training is at work; the picture is taken once half of it is done.
"""

from __future__ import annotations

import io
import re
import sys
import time
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console

from trainer_hooks.cli.watching.local import LocalRuns
from trainer_hooks.cli.watching.screen import Screen
from trainer_hooks.cli.watching.seen import Seen

PICTURE = Path(__file__).parent.parent / "docs" / "images" / "terminal.svg"
_WIDTH = 100
_EVERY = 0.2
# rich names fonts that a reader would fetch from elsewhere.
_FONTS = re.compile(r"@font-face \{\{.*?\}\}\s*", re.DOTALL)


def main() -> None:
    """Wait for the moment, and take it."""
    runs, screen = LocalRuns(Path(sys.argv[1])), Screen("WARNING")
    seen: Seen | None = None
    while seen is None or (seen.told.summary.share or 0) < 0.5:  # noqa: PLR2004 - half of it
        time.sleep(_EVERY)
        newest = runs.newest()
        seen = runs.look(newest, None) if newest else None
    console = Console(record=True, width=_WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(screen.draw(seen, _WIDTH))
    PICTURE.write_text(
        console.export_svg(title="trainer-hooks runs watch", code_format=_FONTS.sub("", CONSOLE_SVG_FORMAT))
    )


if __name__ == "__main__":
    main()

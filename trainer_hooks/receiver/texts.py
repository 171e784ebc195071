"""Values as people read them, on the page and in a terminal."""

from __future__ import annotations

import math
import time
from datetime import datetime, timezone

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def ago(at: float) -> str:
    """How long ago that was: "now", "40 s", "3 min", "2 h", "5 d"."""
    seconds = max(0.0, time.time() - at)
    if seconds < 1:
        return "now"
    for unit, size in (("d", _DAY), ("h", _HOUR), ("min", _MINUTE)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def duration(seconds: float) -> str:
    """A length of time: "0.4 s", "12 s", "3 min 05 s", "2 h 07 min", "3 d 4 h"."""
    if seconds < _MINUTE:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"  # noqa: PLR2004 - a figure more where few are
    whole = round(seconds)
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE:02d} s"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE:02d} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"


def size(count: int) -> str:
    """A number of bytes: "512 B", "6.2 MB"."""
    if count < 1000:  # noqa: PLR2004 - the first unit
        return f"{count} B"
    power = min(4, int(math.log10(count) // 3))
    return f"{count / 1000**power:.3g} {' kMGT'[power]}B"


def value(given: object) -> str:
    """A metric's value or a parameter's, as short as it may be."""
    if isinstance(given, bool) or given is None:
        return str(given)
    if isinstance(given, float):
        return f"{given:.5g}"
    return str(given)


def moment(at: float) -> str:
    """The time, in UTC, to the second."""
    return datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")

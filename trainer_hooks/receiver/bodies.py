"""JSON bodies before anything takes them apart: what parsers let through, and encoders then stumble over."""

from __future__ import annotations

import re

MOST_DEPTH = 100
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_BRACKET = re.compile(rb"[\[{}\]]")
_ODD = re.compile(rb"\\u(?:[dD][89a-fA-F]|0000)")
_ESCAPE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(?P<half>\\u[dD][89a-fA-F][0-9a-fA-F]{2})|(?P<nul>\\u0000)|\\.",
    re.DOTALL,
)
_INSTEAD = {"half": rb"\ufffd", "nul": rb"\\x00"}


def is_too_deep(body: bytes) -> bool:
    """Whether there are more than `MOST_DEPTH` objects and lists within each other."""
    if body.count(b"{") + body.count(b"[") <= MOST_DEPTH:  # nearly always, and known in no time
        return False
    depth = 0
    for bracket in _BRACKET.findall(_STRING.sub(b"", body)):
        depth += 1 if bracket in b"[{" else -1
        if depth > MOST_DEPTH:
            return True
    return False


def with_plain_texts(body: bytes) -> bytes:
    r"""The same JSON, with U+FFFD for each half of a surrogate pair, and \x00, as text, for each NUL.

    Python writes undecodable file names as halves, of which UTF-8 has none; and PostgreSQL takes no NUL.
    """
    if not _ODD.search(body):
        return body
    return _ESCAPE.sub(lambda escape: _INSTEAD.get(escape.lastgroup or "", escape[0]), body)

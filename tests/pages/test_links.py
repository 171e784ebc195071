"""The pages hold together: what they link to is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pages.reading import PAGES, ROOT

_FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_PAGE_IN_TEXT = re.compile(r"\bdocs/[\w-]+\.md")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def broken(page: Path) -> Iterator[str]:
    text = _FENCED.sub("", page.read_text())
    yield from (named for named in _PAGE_IN_TEXT.findall(text) if not (ROOT / named).exists())
    for link in _LINK.findall(text):
        place, _, anchor = link.partition("#")
        if "://" in link or link.startswith("mailto:"):
            continue
        target = page.parent / place if place else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            yield link


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    titles = _HEADING.findall(_FENCED.sub("", page.read_text()))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_whatever_a_page_links_to_is_there(page: Path) -> None:
    assert list(broken(page)) == []

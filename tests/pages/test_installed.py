"""The page that says what `pip install trainer-hooks` brings says the bounds of pyproject.toml."""

from __future__ import annotations

import re

from tests.pages.reading import ROOT
from tests.test_package import OF_OLDER_PYTHONS, PULLED

_ROW = re.compile(r"^\| ([\w, -]+) \| (?:>= ([\d.]+)|-) \|", re.MULTILINE)
_REQUIRED = re.compile(r"""^    ["']([\w-]+)>=([\d.]+)""", re.MULTILINE)


def rows() -> list[tuple[str, str]]:
    return _ROW.findall((ROOT / "docs" / "security.md").read_text().partition("## What is installed")[2])


def test_it_names_all_that_an_installation_brings() -> None:
    named = [name for names, _ in rows() for name in names.split(", ")]
    assert sorted(named) == sorted(PULLED | OF_OLDER_PYTHONS)


def test_it_says_the_oldest_that_each_may_be() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    required = _REQUIRED.findall(text.partition("\ndependencies = [")[2].partition("\n]")[0])
    assert required
    assert [(names, bound) for names, bound in sorted(rows()) if bound] == sorted(required)

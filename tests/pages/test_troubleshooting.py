"""Every message that docs/troubleshooting.md explains is still one of the code's."""

from __future__ import annotations

import ast
import re

import pytest

from tests.pages.reading import ROOT

PAGE = ROOT / "docs" / "troubleshooting.md"
_MESSAGE = re.compile(r"^\| `([^`]+)`", re.MULTILINE)
_VALUE = re.compile(r"%(?:\.\d)?[a-z]|'?…'?")
_TELLING = 10


def plain(text: str) -> str:
    """With … for each value, which the code writes in several ways, and one blank for several."""
    return re.sub(r"(… ?)+", "…", re.sub(r"\s+", " ", _VALUE.sub("… ", text))).strip("… ")


def text_of(node: ast.AST) -> str | None:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
    return None


@pytest.fixture(scope="module")
def texts() -> str:
    trees = (ast.parse(file.read_text()) for file in sorted((ROOT / "trainer_hooks").rglob("*.py")))
    found = (text_of(node) for tree in trees for node in ast.walk(tree))
    return "\0".join(plain(text) for text in found if text)


@pytest.mark.parametrize("message", _MESSAGE.findall(PAGE.read_text()))
def test_a_message_that_is_explained_is_one_of_the_codes(message: str, texts: str) -> None:
    if plain(message) in texts:
        return
    parts = plain(message).split("…")  # it is put together of several
    assert [part for part in parts if part.strip() not in texts] == []
    assert max(map(len, parts)) >= _TELLING, "too little of it is fixed to tell it from others"

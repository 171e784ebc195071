"""What stands in the pages: their blocks of code, by language."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")), ROOT / "examples" / "README.md"]
_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A block of code: the `number`th of that language on its page, from 1."""

    page: str
    language: str
    number: int
    code: str

    def __str__(self) -> str:
        return f"{self.page}-{self.number}"


def blocks(*languages: str) -> list[Block]:
    """All blocks in one of these languages; "" is a block that names none."""
    found: list[Block] = []
    for page in PAGES:
        of_page = [match.groups() for match in _FENCED.finditer(page.read_text()) if match[1] in languages]
        found += [Block(page.name, language, number, code) for number, (language, code) in enumerate(of_page, 1)]
    return found

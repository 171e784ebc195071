"""Every `trainer-hooks …` in the pages is a command that there is, with options that it takes."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Iterator

import click
import pytest

from tests.pages.reading import PAGES, blocks
from trainer_hooks.cli import main

_IN_TEXT = re.compile(r"(?<!`)`(trainer-hooks [^`]+)`")
_IN_BLOCK = re.compile(r"^\s*(?:\$ )?(?:[A-Z_]+=\S* )*(trainer-hooks .+)$", re.MULTILINE)
_ENDS = re.compile(r";| (?:[|>&]|2>)")
_LEFT_OPEN = {"…", "..."}
_NO_COMMAND = "trainer-hooks job token"  # what a job's token is made of


def commands() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        yield from ((page.name, command) for command in _IN_TEXT.findall(page.read_text()) if command != _NO_COMMAND)
    for block in blocks("", "console", "sh", "bash"):
        for command in _IN_BLOCK.findall(block.code.replace("\\\n", " ")):
            yield block.page, _ENDS.split(command)[0]


def lines(command: str) -> Iterator[list[str]]:
    """The words behind the program's name: once for each of `a|b|c`."""
    words = [word for word in shlex.split(command, comments=True)[1:] if word not in _LEFT_OPEN]
    several = next((word for word in words if "|" in word), "")
    for one in several.split("|"):
        yield [one if several and word == several else word for word in words]


@pytest.mark.parametrize(("page", "command"), dict.fromkeys(commands()))
def test_a_command_on_a_page_is_one_that_there_is(page: str, command: str) -> None:
    for words in lines(command):
        read(main, words, click.Context(main, info_name=page))


def read(command: click.Command, words: list[str], context: click.Context) -> None:
    """Find the command, and read its options; whether a file that they name exists is not asked."""
    if not isinstance(command, click.Group):
        with contextlib.suppress(click.BadOptionUsage):  # named without its value
            command.make_parser(context).parse_args(list(words))
    elif words:
        below = command.get_command(context, words[0])
        assert below is not None, f"there is no command {words[0]}"
        read(below, words[1:], click.Context(below, context, info_name=words[0]))

"""YAML, without its power to make objects. The one file that knows PyYAML, which is loaded when it is needed."""

from __future__ import annotations

import re
from typing import Any

from trainer_hooks.errors import MissingPackage

_HALF_A_CHARACTER = re.compile(r"\\(?:u|U0000)[dD][89a-fA-F]")


def parsed(content: bytes, extra: str) -> Any:
    """What the file of that content holds.

    `extra` is the one of this package's that has PyYAML for what the file is needed for: "datasets" or "actions".

    Raises:
        ValueError: if it is no YAML.
        MissingPackage: as `written`.
    """
    yaml = _yaml(extra)
    try:
        text = content.decode("utf-8-sig")
        _check_characters(text)
        # In C, where there is that: in Python, brackets within brackets take time that grows with the square.
        return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (RecursionError, yaml.YAMLError) as error:
        raise ValueError(str(error)) from error


def written(content: dict[str, Any], extra: str) -> str:
    """The content of a file, in the order that it is given in.

    Raises:
        MissingPackage: if PyYAML isn't installed.
    """
    text: str = _yaml(extra).safe_dump(content, sort_keys=False, allow_unicode=True)
    return text


def _check_characters(text: str) -> None:
    # Of PyYAML's two parsers only one minds.
    if half := _HALF_A_CHARACTER.search(text):
        message = f"{half[0]}… is half a character"
        raise ValueError(message)


def _yaml(extra: str) -> Any:
    try:
        import yaml
    except ImportError as error:
        message = f'{_NEEDS[extra]}: pip install "trainer-hooks[{extra}]"'
        raise MissingPackage(message) from error
    return yaml


_NEEDS = {"datasets": "YOLO datasets need PyYAML", "actions": "a plugin's config.yaml needs PyYAML"}

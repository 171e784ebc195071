"""Which settings are credentials, where they lie, and what is printed in their place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainer_hooks.errors import InvalidSetting
from trainer_hooks.settings.options import ENVIRONMENT
from trainer_hooks.settings.places import absolute, without_userinfo


def is_secret(name: str, value: Any = None) -> bool:
    """Whether a setting of that name is a credential, or this value of it carries one."""
    return (name in ENVIRONMENT and ENVIRONMENT[name].secret) or without_userinfo(value) != value


def masked(name: str, value: Any) -> str:
    """A setting's value as text that may be printed."""
    if value is None:
        return "-"
    return "****" if ENVIRONMENT[name].secret else str(without_userinfo(value))


def read_token(file: str | None, variable: str) -> str | None:
    """The token in the file that this variable names; None where it names none, or there is none in it.

    Raises:
        InvalidSetting: if the file can't be read.
    """
    if not file:
        return None
    try:
        return Path(absolute(file)).read_text().strip() or None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        message = f"{variable} names {file!r}, which can't be read: {reason}"
        raise InvalidSetting(message) from error

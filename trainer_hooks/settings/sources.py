"""Where values come from, and what is said of one that can't be used: arguments, the environment, a file."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import msgspec

from trainer_hooks.errors import InvalidSetting
from trainer_hooks.settings.options import DESCRIPTIONS, ENVIRONMENT, TYPES, Options

_CONFIG_FILE = "trainer_hooks.toml"

_Layer = dict[str, tuple[Any, str]]


def from_arguments(arguments: Mapping[str, Any]) -> _Layer:
    """The arguments that are given.

    Raises:
        InvalidSetting: for a name that is no setting.
    """
    for name in arguments:
        if name not in Options.__struct_fields__:
            message = f"{name!r} is not a setting (known: {', '.join(Options.__struct_fields__)})"
            raise InvalidSetting(message)
    return {name: (value, "argument") for name, value in arguments.items() if value is not None}


def from_environment(environ: Mapping[str, str]) -> _Layer:
    """The variables that are set."""
    # An empty variable counts as unset: compose files and Helm charts write those for "nothing". And what comes from a
    # file, as a secret in Kubernetes often does, has a newline at its end.
    return {
        name: (environ[variable].strip(), variable)
        for name, env in ENVIRONMENT.items()
        for variable in reversed(env.names)  # so that the first goes before the others
        if environ.get(variable, "").strip()
    }


def from_file(environ: Mapping[str, str]) -> _Layer:
    """What the file of settings says, if there is one.

    Raises:
        InvalidSetting: if it can't be read, or has in it what is no setting, or a credential.
    """
    named = environ.get("TRAINER_HOOKS_CONFIG")
    path = Path(named or _CONFIG_FILE).expanduser()
    try:
        text = path.read_bytes()
    except OSError as error:
        if not named:
            return {}
        message = f"TRAINER_HOOKS_CONFIG names {named!r}, which can't be read: {error.strerror}"
        raise InvalidSetting(message) from error
    try:
        table = _parse_toml(text)
    except ValueError as error:
        message = f"{path}: not valid TOML: {error}"
        raise InvalidSetting(message) from error
    for name in table:
        if name not in ENVIRONMENT:
            message = f"{path}: {name!r} is not a setting (known: {', '.join(ENVIRONMENT)})"
            raise InvalidSetting(message)
        if ENVIRONMENT[name].secret:
            message = f"{path}: {name!r} is a credential; set {ENVIRONMENT[name].names[0]} in the environment instead"
            raise InvalidSetting(message)
    return {name: (value, str(path)) for name, value in table.items()}


def _parse_toml(text: bytes) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.loads(text.decode())


def convert(name: str, value: Any, source: str) -> Any:
    """The value as the setting's type.

    Raises:
        InvalidSetting: if it is none, with what is allowed.
    """
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    try:
        return msgspec.convert(value, TYPES[name], strict=False)
    except msgspec.ValidationError as error:
        shown = "(a credential)" if ENVIRONMENT[name].secret else repr(value)
        message = f"setting {name!r} from {source} can't be {shown}: {_allowed(name, error)} ({DESCRIPTIONS[name]})"
        raise InvalidSetting(message) from error


def _allowed(name: str, error: msgspec.ValidationError) -> str:
    kind = TYPES[name].__origin__
    if get_origin(kind) is Literal:
        return f"one of {', '.join(get_args(kind))}"
    return "1, true, 0 or false" if bool in get_args(kind) else str(error)

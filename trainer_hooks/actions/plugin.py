"""A plugin's `config.yaml`, as predecessor A writes it: its actions by name, and what they need where they run."""

from __future__ import annotations

import difflib
import logging
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from trainer_hooks import yaml_texts
from trainer_hooks.errors import InvalidAction, InvalidSetting

_log = logging.getLogger("trainer_hooks")
FILE = "config.yaml"
# What says nothing about how an action runs here.
_PASSED_OVER = frozenset(
    [
        "name",
        "code",
        "version",
        "description",
        "variant",
        "category",
        "readme",
        "wheels_dir",
        "data_type",
        "tasks",
        "supported_data_type",
        "supported_data_types",
        "supported_annotation_tools",
        "annotation_category",
        "annotation_type",
        "smart_tool",
        "smart_tool_type",
        "requires",
        "dependencies",
        "tags",
    ]
)
_PASSED_OVER_OF_ACTIONS = frozenset(["name", "input_type", "output_type", "serve_options", "params_schema"])
_METHODS_HERE = ("job", "task")
_OF_PACKAGES = frozenset(["pip", "uv", "conda"])
_OPTIONS = {"pip": "pip_install_options", "uv": "uv_pip_install_options"}


class Resources(BaseModel):
    """What an action needs of a cluster; `memory` in bytes."""

    num_cpus: float | None = Field(default=None, ge=0)
    num_gpus: float | None = Field(default=None, ge=0)
    memory: int | None = Field(default=None, ge=0)


class PluginAction(BaseModel):
    """One of a plugin's actions."""

    entrypoint: str
    method: Literal["job", "task", "serve", "restapi"] = "task"
    description: str = ""
    resources: Resources = Resources()


class Plugin(BaseModel):
    """A plugin: its actions, and the environment that all of them run in."""

    package_manager: Literal["pip", "uv"] = "pip"
    package_manager_options: list[str] = []
    env: dict[str, Any] = {}
    runtime_env: dict[str, Any] = {}
    actions: dict[str, PluginAction] = {}

    def action(self, name: str, place: Path) -> PluginAction:
        """The action of that name; `place` is the plugin's file.

        Raises:
            InvalidAction: if there is none, or it is of a kind that isn't run here.
        """
        if name not in self.actions:
            close = difflib.get_close_matches(name, self.actions, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"its actions: {', '.join(self.actions) or 'none'}"
            message = f"{place} has no action {name!r}; {hint}"
            raise InvalidAction(message)
        found = self.actions[name]
        if found.method not in _METHODS_HERE:
            message = f"{place}: action {name!r} is a {found.method}; only those of the methods job and task run here"
            raise InvalidAction(message)
        return found

    def variables(self) -> dict[str, str]:
        """The environment variables of its actions."""
        return {str(name): _as_variable(value) for name, value in self.env.items() if value is not None}

    def cluster_environment(self, folder: Path) -> dict[str, Any]:
        """Its `runtime_env`; with the packages of `requirements.txt` in its folder, where that names none itself."""
        place = folder / "requirements.txt"
        if not place.is_file() or not _OF_PACKAGES.isdisjoint(self.runtime_env):
            return dict(self.runtime_env)
        lines = [line.strip() for line in place.read_text().splitlines() if line.strip()[:1] not in ("", "#")]
        packages = [line for line in lines if not line.startswith("-")]
        given = [word for line in lines if line.startswith("-") for word in shlex.split(line)]
        options = [*self.package_manager_options, *given]
        wanted = {"packages": packages, **({_OPTIONS[self.package_manager]: options} if options else {})}
        return {**self.runtime_env, **({self.package_manager: wanted} if packages else {})}


def read_plugin(folder: Path) -> Plugin | None:
    """The plugin in that folder; None where no config.yaml in it has `actions`: others have files of that name, too.

    Keys that nobody knows are named in a warning.

    Raises:
        InvalidSetting: names the file, and each key whose value can't be used.
        MissingPackage: if PyYAML isn't installed.
    """
    place = folder / FILE
    try:
        content = yaml_texts.parsed(place.read_bytes(), "actions")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        message = f"{place} can't be read: {error}"
        raise InvalidSetting(message) from error
    if not isinstance(content, Mapping) or "actions" not in content:
        return None
    try:
        plugin = Plugin.model_validate(dict(content))
    except ValidationError as error:
        message = "\n".join([f"{place} can't be used:", *_told(error)])
        raise InvalidSetting(message) from None
    for key in _unknown(content):
        _log.warning("%s: nobody knows the key %r; it is ignored", place, key)
    return plugin


def _told(error: ValidationError) -> Iterator[str]:
    for problem in error.errors(include_url=False, include_context=False):
        key = ".".join(map(str, problem["loc"]))
        # Not what stands in `env`: it may be a credential.
        given = "" if problem["type"] == "missing" or key.startswith("env") else f" is {problem['input']!r}"
        yield f"  {key}{given}: {problem['msg']}"


def _unknown(content: Mapping[Any, Any]) -> Iterator[str]:
    for key in content:
        if key not in Plugin.model_fields and key not in _PASSED_OVER:
            yield str(key)
    for name, action in (content.get("actions") or {}).items():
        for key in action:
            if key not in PluginAction.model_fields and key not in _PASSED_OVER_OF_ACTIONS:
                yield f"actions.{name}.{key}"


def _as_variable(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)

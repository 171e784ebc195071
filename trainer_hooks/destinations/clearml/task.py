"""The run's task in ClearML: found, made, described and ended by calls of the server's API."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from trainer_hooks.destinations import Context
from trainer_hooks.destinations.clearml.server import Server
from trainer_hooks.errors import Rejected
from trainer_hooks.events import (
    CheckpointStored,
    ExportCompleted,
    RunCompleted,
    RunFailed,
    RunInterrupted,
    RunLost,
    RunStarted,
    TrackerLinked,
)
from trainer_hooks.journal import owner, read_headers
from trainer_hooks.replay import Attempt

NAME = "clearml"
_PROJECT = "trainer_hooks"
_TYPES = {"training": "training", "validation": "testing", "test": "testing", "inference": "inference"}
_LONGEST_REASON = 1_000
_DIGEST = 12
_EDITABLE = ("created", "in_progress")
"""The states in which the server takes single parameters, force or no force."""


class Task:
    """One task of the server's."""

    def __init__(self, server: Server, link: TrackerLinked) -> None:
        self.link = link
        self._server = server
        self._models: dict[str, str] | None = None

    @property
    def id(self) -> str:
        """The server's name for it."""
        return self.link.id

    def find(self) -> None:
        """Raise RetryLater where the server is away, and Rejected where it has no such task."""
        self._call("tasks", "get_by_id")

    def start(self, event: RunStarted, run: Mapping[str, Any], *, joined: bool) -> None:
        """It runs, and this is what it works with. As plain texts: nothing of it is taken back into the training.

        A `joined` one is started, and ended, by the SDK in the training.
        """
        if not joined:
            self._call("tasks", "started", force=True, status_reason="", status_message="")
        parameters = [
            {"section": section, "name": name, "value": value, "type": "str"}
            for section, values in _sections(event, run).items()
            for name, value in _flat(values)
        ]
        text = msgspec.json.format(msgspec.json.encode(event.params), indent=2).decode()
        all_of_it = {"name": "Training", "value": text, "type": "json", "description": "parameters of the training"}
        configuration = [all_of_it] if event.params else []
        known = self._call("tasks", "get_by_id")["task"]
        if known.get("status") not in _EDITABLE:
            self._describe_one_that_is_over(known, parameters, configuration)
            return
        self._call("tasks", "edit_hyper_params", hyperparams=parameters, replace_hyperparams="none", force=True)
        if configuration:
            self._call(
                "tasks", "edit_configuration", configuration=configuration, replace_configuration=False, force=True
            )

    def _describe_one_that_is_over(
        self, known: dict[str, Any], parameters: Sequence[dict[str, Any]], configuration: Sequence[dict[str, Any]]
    ) -> None:
        """A joined one whose script has ended before this could be told: the server takes it only as a whole."""
        sections: dict[str, dict[str, Any]] = {**(known.get("hyperparams") or {})}
        for parameter in parameters:
            section = parameter["section"]
            sections[section] = {**sections.get(section, {}), parameter["name"]: parameter}
        items = {**(known.get("configuration") or {}), **{item["name"]: item for item in configuration}}
        self._call("tasks", "edit", hyperparams=sections, configuration=items, force=True)

    def add_model(self, stored: CheckpointStored, attempt: Attempt) -> None:
        """Register a stored checkpoint as an output model, where it lies; a newer one of its name replaces it."""
        reached = f"iteration {stored.iteration}" if stored.epoch is None else f"epoch {stored.epoch}"
        names = attempt.started.class_names if attempt.started else []
        self._register(
            stored.name,
            uri=stored.uri,
            comment=f"{reached}, {stored.size} bytes, SHA-256 {stored.sha256}",
            framework="PyTorch",
            labels={name: number for number, name in enumerate(names)},
        )

    def add_export(self, event: ExportCompleted) -> None:
        """Register an exported model, in the same way."""
        name = f"export {event.export_format}"
        self._register(name, uri=event.uri, comment=f"{event.size} bytes", framework=event.export_format, labels={})

    def end(self, event: RunCompleted | RunFailed | RunInterrupted | RunLost) -> None:
        """It has ended. Forced: after a crash it may stand as anything."""
        if isinstance(event, RunCompleted):
            action, reason, message = "completed", "", "completed"
        elif isinstance(event, RunInterrupted):
            action, reason, message = "stopped", "interrupted", event.reason
        elif isinstance(event, RunFailed):
            action, reason, message = "failed", event.error, event.message
        else:
            action, reason, message = "failed", "lost", event.reason
        said = {"status_reason": reason, "status_message": message[:_LONGEST_REASON]}
        self._call("tasks", action, force=True, **said)

    def _register(self, name: str, **model: Any) -> None:
        known = self._known_models()
        if name in known:
            self._server.call("models", "edit", model=known[name], **model)
        else:
            full = f"{self.link.name} - {name}" if self.link.name else name
            known[name] = self._server.call("models", "create", name=full, task=self.id, ready=False, **model)["id"]
        # Also of one that is known: the try that made it may have failed here.
        self._call("tasks", "add_or_update_model", name=name, model=known[name], type="output")

    def _known_models(self) -> dict[str, str]:
        if self._models is None:
            found = self._call("tasks", "get_by_id")["task"].get("models") or {}
            self._models = {model["name"]: model["model"] for model in found.get("output") or []}
        return self._models

    def _call(self, service: str, action: str, **body: Any) -> dict[str, Any]:
        return self._server.call(service, action, task=self.id, **body)


def make_task(server: Server, context: Context, event: RunStarted) -> TrackerLinked:
    """Make the run's task, or find the one that a courier has made that died before it could say so."""
    settings = context.settings
    headers = read_headers(context.run_directory)
    job = owner(headers).job
    name = settings.clearml_task or (f"Training Job {job}" if job else context.run)
    project = _project(server, settings.clearml_project or _PROJECT)
    # Of several directories, each may have a run of that name: the process that began it tells them apart.
    began = hashlib.sha256(msgspec.json.encode(headers[min(headers)].process)).hexdigest()[:_DIGEST]
    mark = f"run {context.run}, {began}, by trainer_hooks"
    found = _find(server, project, name, mark)
    if found is None:
        tags = [tag for tag in ("trainer_hooks", event.framework) if tag]
        kind = _TYPES.get(event.operation, "custom")
        made = server.call("tasks", "create", name=name, project=project, type=kind, comment=mark, tags=tags)
        found = str(made["id"])
    url = f"{server.web}/projects/{project}/experiments/{found}/output/log" if server.web else ""
    return TrackerLinked(tracker=NAME, id=found, name=name, url=url)


def _project(server: Server, name: str) -> str:
    found = _find_project(server, name)
    if found is not None:
        return found
    try:
        return str(server.call("projects", "create", name=name, description="")["id"])
    except Rejected:
        found = _find_project(server, name)  # another run may have made it a moment ago
        if found is None:
            raise
        return found


def _find_project(server: Server, name: str) -> str | None:
    found = server.call("projects", "get_all", name=_exactly(name), only_fields=["id", "name"])
    projects = (project for project in found.get("projects") or [] if project.get("name") == name)
    return next((str(project["id"]) for project in projects), None)


def _find(server: Server, project: str, name: str, mark: str) -> str | None:
    fields = ["id", "comment"]
    found = server.call("tasks", "get_all", project=[project], name=_exactly(name), only_fields=fields)
    tasks = (task for task in found.get("tasks") or [] if task.get("comment") == mark)
    return next((str(task["id"]) for task in tasks), None)


def _exactly(name: str) -> str:
    """The server's names are regular expressions."""
    return f"^{re.escape(name)}$"


def _sections(event: RunStarted, run: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    known = {name: getattr(event, name) for name in ("framework", "task", "model", "total_epochs", "total_iterations")}
    about = {**run, **{name: value for name, value in known.items() if value is not None}}
    return {"Training": event.params, "Dataset": event.dataset, "Versions": event.versions, "Run": about}


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Each value as text, by the path to it; a list as JSON."""
    for name, value in values.items():
        # ClearML's own database takes names apart at these.
        path = f"{prefix}{name}".replace(".", "_").replace("$", "_")
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{path}/")
        else:
            yield path, value if isinstance(value, str) else msgspec.json.encode(value).decode()

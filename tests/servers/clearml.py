"""A ClearML server on loopback: what the SDK and our courier ask of one, with its task states.

Endpoints and shapes are those that the SDK 2.1.12 was seen to use; credentials are not looked at.
"""

from __future__ import annotations

import base64
import email
import json
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

# From which states a task gets where without force.
_FROM = {
    "in_progress": {"created", "queued", "in_progress", "stopped"},
    "stopped": {"in_progress", "failed"},
    "failed": {"in_progress", "stopped"},
    "completed": {"in_progress", "stopped"},
}
_ENDS = {"started": "in_progress", "stopped": "stopped", "failed": "failed", "completed": "completed"}


class Refused(Exception):
    """The server's answer to what it can't do."""


class ClearMLServer:
    """Start with `serve`; what has arrived stands in its attributes."""

    def __init__(self) -> None:
        self.projects: dict[str, dict[str, Any]] = {}
        self.tasks: dict[str, dict[str, Any]] = {}
        self.models: dict[str, dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []
        self.calls: list[str] = []
        self.files: dict[str, bytes] = {}
        self.status = 200
        """What it answers everything with; 200 for what is asked."""
        self.requests = 0
        self.cuts_answers = False
        """Whether it promises more of an answer than it gives."""
        self.answers = threading.Event()
        """Clear it, and it takes requests and never answers."""
        self.answers.set()
        self.on_call: Callable[[str], None] = lambda _: None
        self.refuses: Callable[[dict[str, Any]], bool] = lambda _: False
        """Which events it has no place for; a batch with one of them it refuses whole."""
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self.port = self._http.server_address[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What makes an SDK speak to it."""
        return {
            "CLEARML_API_HOST": self.url,
            "CLEARML_WEB_HOST": self.url,
            "CLEARML_FILES_HOST": self.url,
            "CLEARML_API_ACCESS_KEY": "an access key",
            "CLEARML_API_SECRET_KEY": "a very secret key",
        }

    @contextmanager
    def serving(self) -> Iterator[ClearMLServer]:
        thread = threading.Thread(target=self._http.serve_forever, args=[0.05], daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.answers.set()
            self._http.shutdown()
            self._http.server_close()
            thread.join()

    @property
    def task(self) -> dict[str, Any]:
        """The only task there is."""
        (task,) = self.tasks.values()
        return task

    def scalars(self, task: str | None = None) -> list[tuple[str, str, int, float]]:
        """Title, series, iteration and value of every scalar that has arrived, also those that arrived twice."""
        return [
            (event["metric"], event["variant"], event["iter"], event["value"])
            for event in self.events
            if event["type"] == "training_stats_scalar" and task in (None, event["task"])
        ]

    def console(self) -> list[str]:
        """The messages of the log, in their order."""
        return [event["msg"] for event in self.events if event["type"] == "log"]

    def parameters(self, section: str) -> dict[str, str]:
        """The hyper-parameters of the only task."""
        return {name: item["value"] for name, item in self.task["hyperparams"].get(section, {}).items()}

    def output_models(self) -> dict[str, str]:
        """The URI of each output model of the only task, by its name there."""
        return {one["name"]: self.models[one["model"]]["uri"] for one in self.task["models"]["output"]}

    def answer(self, called: str, body: Any) -> dict[str, Any]:
        """Do what is asked; returns the data of the answer."""
        with self._lock:
            self.calls.append(called)
            self.on_call(called)
            name = called.replace(".", "_")
            service, action = called.split(".")
            if service == "tasks" and action in _ENDS:
                return self._move(body, _ENDS[action])
            return getattr(self, f"_{name}", lambda _: {})(body)

    def _auth_login(self, _: Any) -> dict[str, Any]:
        claims = {"exp": int(time.time()) + 86400, "iat": int(time.time()), "api_version": "2.30", "identity": {}}
        parts = ({"alg": "none", "typ": "JWT"}, {**claims, "server_version": "2.0", "feature_set": "basic"})
        encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
        return {"token": ".".join([*encoded, "c2ln"])}

    def _projects_get_all(self, body: Any) -> dict[str, Any]:
        return {"projects": _named(self.projects, body)}

    def _projects_create(self, body: Any) -> dict[str, Any]:
        return {"id": _add(self.projects, body)}

    def _projects_get_by_id(self, body: Any) -> dict[str, Any]:
        return {"project": self.projects[body["project"]]}

    def _tasks_create(self, body: Any) -> dict[str, Any]:
        extra = {"status": "created", "hyperparams": {}, "configuration": {}, "models": {"input": [], "output": []}}
        empty = {"execution": {}, "script": {}, "runtime": {}, "output": {"destination": ""}, "last_iteration": 0}
        return {"id": _add(self.tasks, {**empty, **extra, **body})}

    def _tasks_get_by_id(self, body: Any) -> dict[str, Any]:
        return {"task": self._task(body)}

    def _tasks_get_all(self, body: Any) -> dict[str, Any]:
        wanted = body.get("id")
        found = [task for task in _named(self.tasks, body) if wanted is None or task["id"] in wanted]
        return {"tasks": [task for task in found if task["project"] in (body.get("project") or [task["project"]])]}

    def _tasks_edit(self, body: Any) -> dict[str, Any]:
        self._task(body).update({name: value for name, value in body.items() if name not in {"task", "force"}})
        return {"updated": 1}

    def _tasks_edit_hyper_params(self, body: Any) -> dict[str, Any]:
        known = self._running(body)["hyperparams"]
        for item in body["hyperparams"]:
            known.setdefault(item["section"], {})[item["name"]] = item
        return {"updated": 1}

    def _tasks_edit_configuration(self, body: Any) -> dict[str, Any]:
        self._running(body)["configuration"].update({item["name"]: item for item in body["configuration"]})
        return {"updated": 1}

    def _tasks_add_or_update_model(self, body: Any) -> dict[str, Any]:
        models = self._task(body)["models"][body["type"]]
        models[:] = [one for one in models if one["name"] != body["name"]]
        models.append({"name": body["name"], "model": body["model"]})
        return {"updated": 1}

    def _models_create(self, body: Any) -> dict[str, Any]:
        return {"id": _add(self.models, body), "created": True}

    def _models_edit(self, body: Any) -> dict[str, Any]:
        self.models[body["model"]].update({name: value for name, value in body.items() if name != "model"})
        return {"updated": 1}

    def _models_get_by_id(self, body: Any) -> dict[str, Any]:
        return {"model": self.models[body["model"]]}

    def _events_add_batch(self, body: Any) -> dict[str, Any]:
        for event in body:
            self._task(event)
            value = event.get("value", 0.0)
            if self.refuses(event) or not isinstance(value, (int, float)):
                message = f"an event that can't be taken: {event}"
                raise Refused(message)
        self.events += body
        return {"added": len(body), "errors": 0, "errors_info": {}}

    def _move(self, body: Any, state: str) -> dict[str, Any]:
        task = self._task(body)
        if task["status"] not in _FROM[state] and not body.get("force"):
            message = f"Invalid status transition: {task['status']} to {state}"
            raise Refused(message)
        told = {name: body.get(name, "") for name in ("status_reason", "status_message")}
        task.update(status=state, **told)
        return {"updated": 1}

    def _running(self, body: Any) -> dict[str, Any]:
        """The task, where single parameters may be edited: the server takes no force for an answer."""
        task = self._task(body)
        if task["status"] not in ("created", "in_progress"):
            message = f"Task must be in one of created, in_progress, and is {task['status']}"
            raise Refused(message)
        return task

    def _task(self, body: Any) -> dict[str, Any]:
        if body.get("task") not in self.tasks:
            message = f"Invalid task id: id={body.get('task')}"
            raise Refused(message)
        return self.tasks[body["task"]]


def _add(known: dict[str, dict[str, Any]], body: dict[str, Any]) -> str:
    number = uuid.uuid4().hex
    known[number] = {**body, "id": number}
    return number


def _named(known: dict[str, dict[str, Any]], body: Any) -> list[dict[str, Any]]:
    pattern = re.compile(body.get("name") or "")
    return [one for one in known.values() if pattern.search(one.get("name", ""))]


def _files(kind: str, form: bytes) -> dict[str, bytes]:
    """The files of a form, by the names of their fields."""
    message = email.message_from_bytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + form)
    parts: Any = message.get_payload()
    return {part.get_param("name", header="Content-Disposition"): part.get_payload(decode=True) for part in parts}


_Reply = tuple[int, bytes, str]


def _respond(server: ClearMLServer, path: str, kind: str, content: bytes) -> _Reply:
    """Status, content and its type."""
    if path == "/" and server.status == 200:  # the server for files
        server.files.update(_files(kind, content))
        return _reply(path, 200)
    if path.lstrip("/") in server.files:
        return 200, server.files[path.lstrip("/")], "application/octet-stream"
    if server.status != 200:
        return _reply(path, server.status)
    called = path.rpartition("/")[2]
    lines = [json.loads(line) for line in content.splitlines()] if called == "events.add_batch" else None
    try:
        body = (json.loads(content) if content else {}) if lines is None else lines
        return _reply(path, 200, server.answer(called, body))
    except Refused as refusal:
        return _reply(path, 400, message=str(refusal))


def _reply(path: str, status: int, data: dict[str, Any] | None = None, message: str = "OK") -> _Reply:
    endpoint = {"name": path.rpartition("/")[2], "requested_version": "2.30", "actual_version": "2.30"}
    meta = {"id": "1", "trx": "1", "endpoint": endpoint, "result_code": status, "result_subcode": 0}
    content = {"meta": {**meta, "result_msg": message}, "data": data or {}}
    return status, json.dumps(content).encode(), "application/json"


def _handler(server: ClearMLServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            server.requests += 1
            server.answers.wait()
            path = unquote(self.path.partition("?")[0])
            status, content, kind = _respond(server, path, self.headers.get("Content-Type", ""), asked)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            if server.cuts_answers:
                self.send_header("Transfer-Encoding", "chunked")
                content, self.close_connection = b"ffff\r\n", True
            else:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET  # noqa: N815 - the library's name

        def log_message(self, *_: Any) -> None:
            """Quietly."""

    return Handler

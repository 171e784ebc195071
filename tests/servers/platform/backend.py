"""The backend without its network: which answer a request gets, and what it changes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import unquote

import msgspec

from tests.servers.platform import payloads
from tests.servers.platform.database import Job

BASE = "/api/v1"
PROTOCOL = "trainer-hooks/1"


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back. A 2xx of the backend's own means that the request was taken."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


class Route(NamedTuple):
    """One of B's callback routes: the form of its body and what it does."""

    pattern: re.Pattern[str]
    payload: Any
    effect: Callable[[Job, Any, dict[str, Any]], dict[str, Any]]


def _route(path: str, payload: Any, effect: Callable[[Job, Any, dict[str, Any]], dict[str, Any]]) -> Route:
    return Route(re.compile(re.escape(f"{BASE}/{path}").replace(r"\{job\}", "(?P<job>[^/]+)")), payload, effect)


ROUTES = (
    _route("training/jobs/{job}/callback/progress", payloads.Progress, Job.progress),
    _route("training/jobs/{job}/callback/logs", payloads.Log, Job.log),
    _route("training/jobs/{job}/callback/completion", payloads.Completion, Job.complete),
    _route("validation/jobs/{job}/results", payloads.Validation, Job.validate),
    _route("test_inference/inference/jobs/{job}/callback/started", payloads.InferenceStarted, Job.start_inference),
    _route(
        "test_inference/inference/jobs/{job}/callback/completion",
        payloads.InferenceCompleted | payloads.InferenceFailed,
        Job.end_inference,
    ),
    _route("export/jobs/{job}/callback/started", payloads.ExportStarted, Job.start_export),
    _route("export/jobs/{job}/callback/completion", payloads.ExportEnded, Job.end_export),
)
_OFFER = f"{BASE}/trainer-hooks"
_EVENTS = re.compile(rf"{BASE}/training/jobs/(?P<job>[^/]+)/events")
_HEARTBEAT = re.compile(rf"{BASE}/training/jobs/(?P<job>[^/]+)/heartbeat")


class Refusal(Exception):
    """The request is answered with an error; nothing was changed."""

    def __init__(self, status: HTTPStatus, detail: object = None, headers: dict[str, str] | None = None) -> None:
        super().__init__(status, detail)
        self.answer = answer_json(status, {"detail": status.phrase if detail is None else detail}, headers)


class Rules:
    """What the backend takes. Each may be changed while it runs.

    jobs: the ids it knows; None for any.
    batch: it has our own protocol too.
    integer_jobs: it refuses other job ids, as B's schema does.
    require_token: without this bearer token the answer is 401; None asks for none.
    max_events, max_bytes: the most that a batch may hold; offered, and kept to.
    reject_types: the types of events that the answer to a batch rejects, with the reason.
    heartbeats: it wants to be told, in our own protocol, that the training lives.
    images: it offers to take images; for tests in which it then does not.
    job_status: what every answer says of the job, whatever the job's rows say; None for what they say.
    """

    def __init__(self, jobs: Collection[str] | None = None, *, batch: bool = False, integer_jobs: bool = True) -> None:
        self.jobs = jobs
        self.batch = batch
        self.integer_jobs = integer_jobs
        self.require_token: str | None = None
        self.max_events = 1000
        self.max_bytes = 4_000_000
        self.reject_types: dict[str, str] = {}
        self.heartbeats = False
        self.images = False
        self.job_status: str | None = None


class Backend:
    """All jobs, and what may be done to them. Not thread-safe: its server holds a lock around each call."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._jobs: dict[str, Job] = {}
        self.events: dict[str, dict[str, Any]] = {}
        self.arrivals: Counter[str] = Counter()
        self.unknown_fields: set[str] = set()

    def job(self, identity: str) -> Job:
        """The rows of a job, made when first asked for."""
        return self._jobs.setdefault(identity, Job(identity))

    def handle(self, method: str, target: str, authorization: str | None, content_type: str, body: bytes) -> Answer:
        """Do what the request asks, or answer why not."""
        path = target.partition("?")[0]
        try:
            self._authorize(authorization)
            return answer_json(HTTPStatus.OK, self._dispatch(method, path, content_type, body))
        except Refusal as refusal:
            return refusal.answer

    def _dispatch(self, method: str, path: str, content_type: str, body: bytes) -> dict[str, Any]:
        if self._rules.batch and path == _OFFER:
            _allow(method, "GET")
            return self._offer()
        if self._rules.batch and (events := _EVENTS.fullmatch(path)):
            _allow(method, "POST")
            return self._store(unquote(events["job"]), content_type, body) | self._status()
        if self._rules.heartbeats and (beat := _HEARTBEAT.fullmatch(path)):
            _allow(method, "POST")
            self._find(unquote(beat["job"]))
            _convert(_decode(content_type, body), payloads.Heartbeat)
            return self._status()
        for route in ROUTES:
            if match := route.pattern.fullmatch(path):
                _allow(method, "POST")
                return self._call(route, unquote(match["job"]), content_type, body) | self._status()
        raise Refusal(HTTPStatus.NOT_FOUND)

    def _authorize(self, authorization: str | None) -> None:
        token = self._rules.require_token
        if token is not None and authorization != f"Bearer {token}":
            raise Refusal(HTTPStatus.UNAUTHORIZED, "Not authenticated", {"WWW-Authenticate": "Bearer"})

    def _call(self, route: Route, job: str, content_type: str, content: bytes) -> dict[str, Any]:
        if self._rules.integer_jobs and not job.isdecimal():
            raise _unprocessable("Input should be a valid integer", "path", "job_id")
        body = _decode(content_type, content)
        payload = _convert(body, route.payload)
        if self._rules.integer_jobs and isinstance(payload.job_id, str) and not isinstance(payload, _FREE_FORM):
            raise _unprocessable("Input should be a valid integer", "body", "job_id")
        self._find(job)
        self.unknown_fields.update(payloads.unknown_fields(payload, body))
        return route.effect(self.job(job), payload, body)

    def _find(self, job: str) -> None:
        if self._rules.jobs is not None and job not in self._rules.jobs:
            raise Refusal(HTTPStatus.NOT_FOUND, f"Job {job} not found")

    def _status(self) -> dict[str, Any]:
        return {"job_status": self._rules.job_status} if self._rules.job_status else {}

    def _offer(self) -> dict[str, Any]:
        offer = {"protocol": PROTOCOL, "max_events": self._rules.max_events, "max_bytes": self._rules.max_bytes}
        wanted = {"heartbeats": self._rules.heartbeats, "images": self._rules.images}
        return offer | {name: True for name, is_wanted in wanted.items() if is_wanted}

    def _store(self, job: str, content_type: str, content: bytes) -> dict[str, Any]:
        if len(content) > self._rules.max_bytes:
            raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {self._rules.max_bytes} bytes")
        body = _decode(content_type, content)
        _convert(body, payloads.Batch)
        batch = body["events"]
        if len(batch) > self._rules.max_events:
            raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {self._rules.max_events} events")
        self._find(job)
        stored: list[str] = []
        rejected: dict[str, str] = {}
        for event in batch:
            self.arrivals[event["id"]] += 1
            reason = self._fault(event)
            if reason is None:
                self.events.setdefault(event["id"], event)
                stored.append(event["id"])
            else:
                rejected[event["id"]] = reason
        return {"stored": stored, "rejected": rejected}

    def _fault(self, event: dict[str, Any]) -> str | None:
        try:
            kind = msgspec.convert(event, payloads.Envelope).event.get("type")
        except msgspec.ValidationError as error:
            return str(error)
        return self._rules.reject_types.get(kind) if isinstance(kind, str) else "the event has no type"


_FREE_FORM = (payloads.ExportStarted, payloads.ExportEnded)


def answer_json(status: int, content: object, headers: dict[str, str] | None = None) -> Answer:
    """An answer with a JSON body."""
    return Answer(status, msgspec.json.encode(content), headers=headers or {})


def _allow(method: str, allowed: str) -> None:
    if method != allowed:
        raise Refusal(HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": allowed})


def _decode(content_type: str, content: bytes) -> dict[str, Any]:
    # FastAPI hands a body of another type to the schema as bytes, which no schema takes.
    if content_type.partition(";")[0].strip().lower() not in {"", "application/json"}:
        raise _unprocessable("Input should be a valid dictionary or object", "body")
    try:
        return msgspec.json.decode(content, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise _unprocessable(str(error), "body") from error


def _convert(body: dict[str, Any], payload: Any) -> Any:
    try:
        return msgspec.convert(body, payload, strict=False)  # as pydantic: "7" is a number, and so is "NaN"
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at `$.")
        raise _unprocessable(message, "body", *re.findall(r"\w+", where)) from error


def _unprocessable(message: str, *where: str) -> Refusal:
    return Refusal(
        HTTPStatus.UNPROCESSABLE_ENTITY, [{"type": "value_error", "loc": list(where), "msg": message, "input": None}]
    )

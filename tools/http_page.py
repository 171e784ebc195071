"""Write docs/http.md from the receiver's OpenAPI description: `python tools/http_page.py`."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from schemas_in_words import Schema, anchor, example, fields, kind, more

from trainer_hooks.receiver.backend import open_backend
from trainer_hooks.receiver.guard import BASE
from trainer_hooks.receiver.tokens import Tokens
from trainer_hooks.receiver.web.app import create_app
from trainer_hooks.receiver.web.common import REFUSALS

PAGE = Path(__file__).parent.parent / "docs" / "http.md"
INTRODUCTION = f"""\
# HTTP

Every call that [the receiver](receiver.md) answers. What couriers say to a platform, of whatever make, and how they
read the answers, is [the platform's contract](platform.md); this page is the server's side.

Written by `python tools/http_page.py` from the server's own OpenAPI description. A running one gives it at
`GET /openapi.json`, for tools that make clients of it.

Paths are below `{BASE}`, at which `CALLBACK_URL` ends, too. Two are not: `GET /openapi.json` and `GET /healthz` (200 as
long as the server answers); neither needs a token. Those that browsers are sent are in [the page](page.md).
"""
COMMON = """
## Common to all calls

- **Token**: `Authorization: Bearer TOKEN`, or the cookie of [a browser that has signed in](page.md#signing-in).
  Without a token the server answers requests to localhost only. Where it says *a job's token is enough*, that of
  `trainer-hooks serve --job-token JOB` does, for that job.
- **Bodies** are JSON, with `Content-Type: application/json`, unless something else is said. JSON has no NaN: a metric
  is then the text `"NaN"`, `"Infinity"` or `"-Infinity"`.
- **In a path**, `{job}` is the platform's job and `{run}` the run's id; each part is percent-encoded as one segment.
- **Times** are unix seconds, unless the type is date-time.
- **A repeat changes nothing** of what is told: an event is known by its id, a callback by `Idempotency-Key`, else by
  its body.
- **Refusals** are `{"detail": …}`, and can come of any call:

| status | why |
|---|---|
"""
OF_FIELDS = "| 422 | Fields are missing, or wrong: `detail` is a list of `{type, loc, msg}`, `loc` being where. |\n"
GROUPS = {
    "runs": """\
Reading runs
What [the page](page.md) and `trainer-hooks runs ls`, `show` and `watch` ask. More on
[curves and logs](receiver.md#curves-and-logs), and on [checkpoints](receiver.md#checkpoints).""",
    "streams": """\
Listening
[Server-sent events](receiver.md#server-sent-events): the answer goes on.""",
    "jobs": """\
Jobs
A job is the platform's; its runs are those that have told of it.""",
    "images": """\
Images
What frameworks draw, as [couriers send it](platform.md#images).""",
    "trainer-hooks/1": """\
What couriers tell
The protocol `trainer-hooks/1`: [batches](platform.md#batches-trainer-hooks1), and
[heartbeats](platform.md#heartbeats).""",
    "callbacks": """\
What others tell
The callbacks of predecessor B, one call for each thing, for its clients and for code of your own
([which call tells what](platform.md#b-one-call-per-record)). `POST /test/{job}/results` is the same as the last of
these.""",
    "objects": """\
Files by signed addresses
Checkpoints from and to machines that have no credentials of the storage. With `TRAINER_HOOKS_STORAGE=s3://…` the
addresses are of that store, and the last two calls aren't used.""",
    "actions": """\
What actions ask
Data collections, models and jobs, as [the backend of actions](backend.md#a-receivers-api) has them.""",
}
"""What the calls of a tag are called, and a word on them."""
_WIDEST = 120
_EXPLAINED = {("path", "job"), ("path", "run")}
_COMMON = {(str(status), told["description"]) for status, told in REFUSALS.items()} | {("422", "Validation Error")}


@dataclass(frozen=True)
class Call:
    """One method of one path, as the description has it."""

    method: str
    path: str
    told: Mapping[str, Any]

    @property
    def title(self) -> str:
        """Method and path."""
        return f"{self.method} {self.path}"

    @property
    def link(self) -> str:
        """To where it is described."""
        return f"[`{self.title}`](#{anchor(self.title)})"

    @property
    def purpose(self) -> str:
        """Its first sentence."""
        return re.split(r"(?<=\.)\s", self.told["description"])[0]

    @cached_property
    def body(self) -> Mapping[str, Any]:
        """Its schema and its example; nothing where there is none."""
        content = self.told.get("requestBody", {}).get("content", {})
        return next(iter(content.values()), {})


def description() -> dict[str, Any]:
    """What a server tells at /openapi.json."""
    with tempfile.TemporaryDirectory() as folder:
        backend = open_backend(Path(folder), Tokens(None))
        try:
            return create_app(backend).openapi()
        finally:
            backend.close()


def page() -> str:
    """The whole page."""
    found = description()
    schemas = found["components"]["schemas"]
    calls = [
        Call(method.upper(), path.removeprefix(BASE), told)
        for path, methods in found["paths"].items()
        for method, told in methods.items()
    ]
    groups = {tag: [call for call in calls if tag in call.told["tags"]] for tag in GROUPS}
    if sum(map(len, groups.values())) != len(calls):
        unknown = {call.told["tags"][0] for call in calls} - set(GROUPS)
        message = f"say in GROUPS what these are: {', '.join(unknown)}"
        raise LookupError(message)
    parts = [INTRODUCTION, *_overview(groups), COMMON, *_refusals(), OF_FIELDS]
    for tag, members in groups.items():
        title, _, text = GROUPS[tag].partition("\n")
        parts += [f"\n## {title}\n\n{text}\n", *(part for call in members for part in _call(call, schemas))]
    shown = sorted(name for name in schemas if "ValidationError" not in name)
    parts += ["\n## Objects\n", *(part for name in shown for part in _object(name, schemas[name]))]
    return "".join(parts)


def _overview(groups: Mapping[str, list[Call]]) -> Iterator[str]:
    yield "\n## All calls\n\n| | |\n|---|---|\n"
    for tag, calls in groups.items():
        title = GROUPS[tag].partition("\n")[0]
        yield f"| **[{title}](#{anchor(title)})** | |\n"
        yield from (f"| {call.link} | {call.purpose} |\n" for call in calls)


def _refusals() -> Iterator[str]:
    yield from (f"| {status} | {told['description']} |\n" for status, told in REFUSALS.items())


def _call(call: Call, schemas: Mapping[str, Schema]) -> Iterator[str]:
    yield f"\n### {call.title}\n\n{call.told['description']}\n"
    if _is_a_jobs(call):
        yield "A job's token is enough.\n"
    if "security" not in call.told:
        yield "The signature stands for the token.\n"
    told = [one for one in call.told.get("parameters", ()) if (one["in"], one["name"]) not in _EXPLAINED]
    if told:
        yield "\n| parameter | in | type | |\n|---|---|---|---|\n"
        yield from map(_parameter, told)
    yield from _body(call, schemas)
    yield "\n| answer | |\n|---|---|\n"
    yield from _answers(call)


def _is_a_jobs(call: Call) -> bool:
    tokens = Tokens("x" * 32)
    path = re.sub(r"\{\w+\}", "7", call.path)
    return "security" in call.told and tokens.allow(f"Bearer {tokens.of_job('7')}", path)


def _parameter(told: Mapping[str, Any]) -> str:
    schema = told["schema"]
    shown = kind(schema).removesuffix(" or null")
    return f"| `{told['name']}` | {told['in']} | {shown} | {more(schema, is_needed=told['required'])} |\n"


def _body(call: Call, schemas: Mapping[str, Schema]) -> Iterator[str]:
    if not call.body:
        return
    schema = call.body.get("schema")
    if schema is None:
        yield "\nBody: the file.\n"
        return
    left_out = "" if call.told["requestBody"].get("required") else ", which may be left out"
    if "properties" in schema:
        yield "\nBody:\n"
        yield from fields(schema)
    else:
        yield f"\nBody{left_out}: {kind(schema).removesuffix(' or null')}\n"
    shown = call.body.get("example") or example(schema, schemas)
    if shown:
        yield f"\n```json\n{_laid_out(shown)}\n```\n"


def _answers(call: Call) -> Iterator[str]:
    for status, told in sorted(call.told["responses"].items()):
        if (status, told["description"]) in _COMMON:
            continue
        parts = [told["description"].replace("Successful Response", "")]
        if status.startswith("2"):
            parts.append(_content(told.get("content", {})))
        otherwise = "the file" if call.method == "GET" else "nothing"
        yield f"| {status} | {' '.join(filter(None, parts)) or otherwise} |\n"


def _content(content: Mapping[str, Any]) -> str:
    for media, told in content.items():
        if media != "application/json":
            return f"`{media}`"
        return kind(told["schema"]) if told["schema"] else ""
    return ""


def _object(name: str, schema: Schema) -> Iterator[str]:
    yield f"\n### {name}\n\n{schema.get('description', '')}\n"
    yield from fields(schema)


def _laid_out(example: Any) -> str:
    line = json.dumps(example, ensure_ascii=False)
    return line if len(line) <= _WIDEST else json.dumps(example, ensure_ascii=False, indent=2)


if __name__ == "__main__":
    PAGE.write_text(page())

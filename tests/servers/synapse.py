"""Synapse's models, jobs and chunked uploads, with its rules: no extra fields, offsets that fit, MD5, unique names."""

from __future__ import annotations

import re
from email.message import Message
from email.parser import BytesParser
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from tests.servers.platform.backend import Answer, answer_json
from tests.servers.rest import Refusal, RestServer, Stored, file_answer, json_object, span_of

_MODEL = {"name", "plugin", "version", "checkpoint", "chunked_upload", "configuration", "description"}
_JOB = {"status", "progress_record", "metrics_record", "console_logs", "result", "meta"}
TOKEN = "synapse-access-token-1"


class SynapseServer(RestServer):
    """`uploads` are the files by the upload's id; `models` and `jobs` the objects."""

    def __init__(self) -> None:
        super().__init__()
        self.uploads: dict[int, Stored] = {}
        self.names: dict[int, str] = {}
        self.completed: set[int] = set()
        self.models: dict[int, dict[str, Any]] = {}
        self.jobs: dict[int, dict[str, Any]] = {3: {"id": 3, "status": "PENDING"}}
        self.collections: dict[int, dict[str, Any]] = {7: {"id": 7, "name": "shapes"}}
        self.finished_uploads_on_asking = 0
        """How many questions after an upload's end are answered as if it were still going on."""

    def work(self, method: str, path: str, headers: httpx.Headers, body: bytes) -> Answer:
        if path.startswith("/media/"):  # an object store: whoever has the address may read
            return file_answer(bytes(self.uploads[int(path.split("/")[2])].content), headers, tag="1")
        if headers.get("Synapse-Access-Token") != f"Token {TOKEN}":
            raise Refusal(401, detail=f"bad token {headers.get('Synapse-Access-Token')}")
        parts = urlsplit(path)
        kind, identity = re.fullmatch(r"/(\w+)/(?:(\d+)/)?", parts.path).groups()
        number = int(identity) if identity else None
        if kind == "chunked_upload":
            return self._upload(method, number, headers, body)
        if method == "GET" and kind == "models" and number is None:
            wanted = parse_qs(parts.query)["search"][0]
            return answer_json(200, {"results": [one for one in self.models.values() if wanted in one["name"]]})
        if method == "POST" and kind == "models":
            return self._create(json_object(body))
        return self._one(method, kind, number, body)

    def _one(self, method: str, kind: str, number: int | None, body: bytes) -> Answer:
        tables = {"models": self.models, "jobs": self.jobs, "data_collections": self.collections}
        if number not in tables[kind]:
            raise Refusal(404, detail="Not found.")
        if method == "PATCH":
            tables[kind][number].update(_known(json_object(body), _JOB))
        return answer_json(200, tables[kind][number])

    def _create(self, fields: dict[str, Any]) -> Answer:
        _known(fields, _MODEL)
        if not fields.get("name"):
            raise Refusal(400, name=["This field is required."])
        if any(model["name"] == fields["name"] for model in self.models.values()):
            raise Refusal(400, name=["This name is taken."])
        if fields.get("chunked_upload") not in self.completed:
            raise Refusal(400, chunked_upload=["Invalid pk - object does not exist."])
        upload = fields["chunked_upload"]
        number = len(self.models) + 1
        address = f"{self.address}/media/{upload}/{self.names[upload]}?signature={number}"
        self.models[number] = {"id": number, "file": address, **fields}
        return answer_json(201, self.models[number])

    def _upload(self, method: str, number: int | None, headers: httpx.Headers, body: bytes) -> Answer:
        if number is not None and number not in self.uploads:
            raise Refusal(404, detail="Not found.")
        if method == "PUT":
            return self._put(number, headers, body)
        if method == "POST":
            if json_object(body).get("md5") != self.uploads[number].md5:
                raise Refusal(400, detail="md5 checksum does not match")
            if number in self.completed:
                raise Refusal(400, detail='Upload has already been marked as "complete"')
            self.completed.add(number)
        going_on = method == "GET" and self.finished_uploads_on_asking > 0
        self.finished_uploads_on_asking -= going_on
        return self._upload_answer(number, done=number in self.completed and not going_on)

    def _put(self, number: int | None, headers: httpx.Headers, body: bytes) -> Answer:
        form = _form(headers, body)
        start, end, _ = span_of(headers)
        if end - start != len(form["file"]):
            raise Refusal(400, detail="File size doesn't match headers")
        number = number or len(self.uploads) + 1
        stored = self.uploads.setdefault(number, Stored())
        if stored.size != start:
            raise Refusal(400, detail="Offsets do not match", expected_offset=stored.size, provided_offset=start)
        stored.add(form["file"])
        self.names[number] = form["filename"].decode()
        return self._upload_answer(number, done=False)

    def _upload_answer(self, number: int, *, done: bool) -> Answer:
        content = {"id": number, "url": f"http://inner/chunked_upload/{number}/", "offset": self.uploads[number].size}
        return answer_json(200, {**content, "completed_at": "2026-01-01T00:00:00Z" if done else None})


def _known(fields: dict[str, Any], known: set[str]) -> dict[str, Any]:
    extra = set(fields) - known
    if extra:
        raise Refusal(400, **{name: ["Extra inputs are not permitted"] for name in extra})
    return fields


def _form(headers: httpx.Headers, body: bytes) -> dict[str, bytes]:
    boundary = headers["Content-Type"].partition("boundary=")[2].encode()
    fields = {}
    for part in body.split(b"--" + boundary)[1:-1]:
        head, _, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        described: Message = BytesParser().parsebytes(head + b"\r\n\r\n")
        name = described.get_param("name", header="Content-Disposition")
        fields[str(name)] = content.removesuffix(b"\r\n")
    return fields

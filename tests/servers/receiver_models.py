"""The receiver's models, data collections and jobs, as docs/backend.md has them."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

import httpx

from tests.servers.platform.backend import Answer, answer_json
from tests.servers.rest import Refusal, RestServer, Stored, file_answer, json_object, span_of

TOKEN = "receivers-token-1"
_LARGEST_PIECE = 16 << 20
_BASE = "/api/v1/trainer-hooks/"


class ReceiverModels(RestServer):
    """`files` are the models' by their ids."""

    def __init__(self) -> None:
        super().__init__()
        self.models: dict[str, dict[str, Any]] = {}
        self.files: dict[str, Stored] = {}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.collections: dict[str, dict[str, Any]] = {"7": {"id": 7, "name": "shapes", "data_collection": 7}}
        self._keys: dict[str, str] = {}

    @property
    def base(self) -> str:
        return f"{self.address}/api/v1"

    def work(self, method: str, path: str, headers: httpx.Headers, body: bytes) -> Answer:
        if headers.get("Authorization") != f"Bearer {TOKEN}":
            raise Refusal(401, detail=f"no {headers.get('Authorization')} here")
        if not path.startswith(_BASE):
            raise Refusal(404, detail="Not Found")
        kind, *rest = [unquote(part) for part in path.removeprefix(_BASE).split("/")]
        if (method, kind, rest) == ("POST", "models", []):
            return self._create(headers["Idempotency-Key"], json_object(body))
        if kind == "models" and rest[1:] == ["file"]:
            self._existing(self.models, rest[0])
            return self._put(rest[0], headers, body) if method == "PUT" else self._get(rest[0], headers)
        if kind == "jobs" and method == "PATCH":
            self.jobs.setdefault(rest[0], {"id": rest[0]}).update(json_object(body))
        tables = {"models": self.models, "jobs": self.jobs, "data-collections": self.collections}
        return answer_json(200, self._existing(tables[kind], rest[0]))

    def _existing(self, table: dict[str, dict[str, Any]], identity: str) -> dict[str, Any]:
        if identity not in table:
            raise Refusal(404, detail=f"there is no {identity}")
        return table[identity]

    def _create(self, key: str, fields: dict[str, Any]) -> Answer:
        if key in self._keys:
            return answer_json(200, self.models[self._keys[key]])
        if not re.fullmatch(r"[0-9a-f]{64}", fields["sha256"]) or fields["size"] < 1 or not fields["name"]:
            raise Refusal(422, detail="name, size and sha256 are wanted")
        number = str(len(self.models) + 1)
        self._keys[key] = number
        self.files[number] = Stored()
        self.models[number] = {**fields, "id": int(number), "created": 1.0, "received": 0, "complete": False}
        return answer_json(201, self.models[number])

    def _put(self, number: str, headers: httpx.Headers, body: bytes) -> Answer:
        model, stored = self.models[number], self.files[number]
        start, end, size = span_of(headers)
        if len(body) > _LARGEST_PIECE:
            raise Refusal(413, detail="too large")
        if size != model["size"] or end - start != len(body):
            raise Refusal(422, detail="another size was told")
        if start != stored.size or model["complete"]:
            raise Refusal(409, detail="go on from received", received=stored.size)
        stored.add(body)
        if stored.size == size and stored.sha256 != model["sha256"]:
            self.files[number] = Stored()
            model["received"] = 0
            raise Refusal(422, detail="the checksum is another one")
        model.update(received=stored.size, complete=stored.size == size)
        return answer_json(200, model)

    def _get(self, number: str, headers: httpx.Headers) -> Answer:
        if not self.models[number]["complete"]:
            raise Refusal(404, detail="not complete")
        stored = self.files[number]
        return file_answer(bytes(stored.content), headers, stored.sha256)

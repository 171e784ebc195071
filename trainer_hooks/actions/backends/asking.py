"""Questions and orders to a backend over HTTP: JSON in and out, tried again where that does no harm."""

from __future__ import annotations

import time
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

from trainer_hooks.actions.archives import sha256_of
from trainer_hooks.actions.backends.as_json import as_json
from trainer_hooks.actions.backends.http import Body, Http, Incoming
from trainer_hooks.actions.backends.trying import Patience, tried
from trainer_hooks.errors import BackendError, BackendRefused, NotInBackend, NotSent, RetryLater
from trainer_hooks.files import replacing, sync_file
from trainer_hooks.wire.answers import Answer, wait_asked_for

PATIENCE = 300.0
_PASSING = frozenset({408, 425, 429})
# Given before anything is done. Not so 503: what stands in front of a server says it, too, when the server is gone in
# the middle of it.
_UNTOUCHED = frozenset({425, 429})
_GOT_ON = 1 << 20


class Asking:
    """Asks one server. `patience` are the seconds for which it is tried again; `delay` those before the first time."""

    def __init__(self, http: Http, *, delay: float, patience: float = PATIENCE) -> None:
        self.http = http
        self._delay = delay
        self._patience = patience

    def patience(self, longer: float = 0.0) -> Patience:
        """All of it, and `longer` seconds more, for a new piece of work."""
        return Patience(self._patience + longer, self._delay)

    def get(self, path: str) -> dict[str, Any]:
        """The JSON object there.

        Raises:
            NotInBackend, BackendRefused, BackendError: see `BackendClient`.
        """
        return tried(lambda: read(self.http.exchange("GET", path)), self.patience())

    def repeat(self, method: str, path: str, content: Mapping[str, Any], *, key: str | None = None) -> dict[str, Any]:
        """What the server answers to a JSON body that does no harm when it comes twice, by its `key` or by itself.

        Raises:
            NotInBackend, BackendRefused, BackendError: see `BackendClient`.
        """
        encoded = as_json(content)
        headers = {} if key is None else {"Idempotency-Key": key}
        return tried(lambda: read(self.http.exchange(method, path, _body(encoded), headers)), self.patience())

    def once(self, method: str, path: str, content: Mapping[str, Any]) -> dict[str, Any]:
        """What the server answers to a JSON body that it must not do twice.

        Raises:
            RetryLater: if it may have been done; ask.
            NotInBackend, BackendRefused, BackendError: see `BackendClient`.
        """
        return read(self.order(method, path, content))

    def order(self, method: str, path: str, content: Mapping[str, Any]) -> Answer:
        """As `once`, of a server whose answer says nothing that is needed."""
        encoded = as_json(content)
        return tried(lambda: check(self.http.exchange(method, path, _body(encoded))), self.patience(), NotSent)

    def download(self, address: str, target: Path, *, sha256: str | None = None) -> None:
        """Put the file there, whole and verified, or not at all.

        Raises:
            NotInBackend, BackendRefused, BackendError: see `BackendClient`.
            OSError: if it can't be written.
        """
        with replacing(target) as temporary:
            with temporary.open("r+b") as file:
                incoming = Incoming(file)
                self._receive(address, incoming)
            if sha256 is None and not incoming.has_end:
                message = f"{target.name} came with no length and no checksum: nobody can tell whether it is whole"
                raise BackendError(message)
            if sha256 is not None and sha256_of(temporary) != sha256:
                message = f"{target.name} came with another checksum than the backend tells: {sha256} is right"
                raise BackendError(message)
            sync_file(temporary)

    def _receive(self, address: str, incoming: Incoming) -> None:
        patience = self.patience()
        while True:
            before = incoming.file.tell()
            try:
                answer = self.http.receive(address, incoming)
                check(answer)
                _check_whole(answer, incoming)
            except RetryLater as problem:
                if incoming.file.tell() - before >= _GOT_ON:
                    patience.renew()
                patience.wait(problem)
            else:
                return


def segment(identity: int | str) -> str:
    """An id as one segment of a path.

    Raises:
        NotInBackend: if it can be none.
    """
    text = str(identity)
    try:
        if text.strip("."):
            return quote(text, safe="")
    except UnicodeEncodeError:  # a surrogate alone
        pass
    message = f"{text!r} can't be an id"
    raise NotInBackend(message)


def read(answer: Answer) -> dict[str, Any]:
    """The JSON object of a server that has done what was asked.

    Raises:
        RetryLater: if it may do it later; NotSent, if it certainly hasn't done it.
        NotInBackend, BackendRefused, BackendError: see `BackendClient`.
    """
    content = check(answer).content
    if content is None:
        message = f"{_said(answer)}, which is no JSON object: is {answer.server.address_setting} right?"
        raise BackendError(message)
    return content


def check(answer: Answer) -> Answer:
    """The answer itself, or raise what the status says, as `read` does."""
    status = answer.status
    if answer.is_success:
        return answer
    if status in _PASSING or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        kind = NotSent if status in _UNTOUCHED else RetryLater
        raise kind(_said(answer), after=wait_asked_for(answer.retry_after, now=time.time()))
    if answer.refuses_credentials:
        message = f"{_said(answer)}: it does not take the credentials; mend {answer.server.credentials_settings}"
        raise BackendRefused(message, status)
    if status == HTTPStatus.NOT_FOUND:
        message = f"{_said(answer)} (is {answer.server.address_setting} right?)"
        raise NotInBackend(message)
    if status < HTTPStatus.BAD_REQUEST:
        message = f"{_said(answer)}: it points elsewhere; is {answer.server.address_setting} right?"
        raise BackendError(message)
    raise BackendRefused(_said(answer), status)


def _said(answer: Answer) -> str:
    return f"{answer.url} answered {answer.status}: {answer.quoted}"


def _body(encoded: bytes) -> Body:
    return Body(iter([encoded]), len(encoded), "application/json")


def _check_whole(answer: Answer, incoming: Incoming) -> None:
    got = incoming.file.tell()
    if incoming.size is not None and got != incoming.size:
        message = f"{answer.url} sent {got} bytes of {incoming.size}"
        raise RetryLater(message)

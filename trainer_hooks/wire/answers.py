"""What an HTTP answer means for the records that were sent: taken, refused for good, or to be sent again."""

from __future__ import annotations

import re
import time
from collections.abc import Collection
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

import msgspec

from trainer_hooks.errors import Rejected, RetryLater
from trainer_hooks.redact import Redactor
from trainer_hooks.settings import without_userinfo
from trainer_hooks.wire.server import Server

NOT_FOUND = frozenset({404, 405})
_CREDENTIALS = frozenset({401, 403})
_PASSING = frozenset({408, 425, 429})
_LONGEST_WAIT = 300.0
_LONGEST_QUOTE = 500


@dataclass(frozen=True)
class Answer:
    """An answer as it came, if not whole then its beginning. `redactor` knows the credentials that were sent."""

    url: str
    status: int
    body: bytes
    content_type: str
    retry_after: str | None
    location: str | None
    server: Server
    redactor: Redactor
    is_whole: bool = True

    @property
    def is_success(self) -> bool:
        """Whether the server has done what was asked, going by the status."""
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES

    @property
    def refuses_credentials(self) -> bool:
        """Whether the server wants other credentials, or any at all."""
        return self.status in _CREDENTIALS

    @property
    def is_no(self) -> bool:
        """Whether the request is refused for good: nothing about it will change by waiting."""
        status = self.status
        client_error = HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
        return client_error and status not in _CREDENTIALS and status not in _PASSING

    @property
    def content(self) -> dict[str, Any] | None:
        """The JSON object that the body is; None where it is none."""
        try:
            return msgspec.json.decode(self.body, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None

    @property
    def quoted(self) -> str:
        """The body's beginning, fit for a message."""
        text = self.redactor.text(self.body.decode("utf-8", "replace")).strip()
        return f"{text[:_LONGEST_QUOTE]}…" if len(text) > _LONGEST_QUOTE else text or "an empty body"


def read_answer(answer: Answer, *, json_only: Collection[int] = ()) -> dict[str, Any]:
    """The JSON object of a server that has taken what was sent; empty where it says nothing.

    `json_only`: as for `check_status`.

    Raises:
        RetryLater: if it may be taken later.
        Rejected: if it never will be.
    """
    check_status(answer, json_only=json_only)
    content = answer.content if answer.body.strip() else {}
    if content is None:
        raise RetryLater(_no_json(answer))
    return content


def check_taken(answer: Answer, *, json_only: Collection[int] = ()) -> None:
    """As `read_answer`, of a server whose answer says nothing that is needed: it may be any JSON, of any length.

    Raises:
        RetryLater, Rejected: as `read_answer`.
    """
    check_status(answer, json_only=json_only)
    if answer.body.strip() and not answer.content_type.lower().startswith("application/json"):
        raise RetryLater(_no_json(answer))


def check_status(answer: Answer, *, json_only: Collection[int] = ()) -> None:
    """Whether the server has taken what was sent, going by the status.

    `json_only`: statuses that refuse only in a JSON object, as the platform's own words are; anything else with such a
    status comes from what stands in front of it while it is down, or from another server.

    Raises:
        RetryLater: if it may be taken later.
        Rejected: if it never will be.
    """
    if answer.is_no and (answer.status not in json_only or answer.content is not None):
        message = f"{answer.url} answered {answer.status}: {answer.quoted}"
        raise Rejected(message)
    if answer.refuses_credentials:
        message = (
            f"{answer.url} answered {answer.status}: it does not take the credentials; "
            f"mend {answer.server.credentials_settings}"
        )
        raise RetryLater(message)
    if not answer.is_success:
        raise RetryLater(_trouble(answer), after=wait_asked_for(answer.retry_after, now=time.time()))


def wait_asked_for(retry_after: str | None, *, now: float) -> float | None:
    """The seconds that a `Retry-After` asks for, at most 300; None where it asks for none that lie ahead."""
    text = (retry_after or "").strip()
    if re.fullmatch(r"\d+", text, re.ASCII):
        seconds = _LONGEST_WAIT if len(text) > len("300") else float(text)
    else:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - now
        except (ValueError, OverflowError):
            return None
    return min(seconds, _LONGEST_WAIT) if seconds > 0 else None


def _no_json(answer: Answer) -> str:
    return (
        f"{answer.url} answered {answer.status} with {answer.content_type or 'no content type'}, "
        f"not with JSON: is {answer.server.address_setting} right? It says: {answer.quoted}"
    )


def _trouble(answer: Answer) -> str:
    setting = answer.server.address_setting
    if HTTPStatus.MULTIPLE_CHOICES <= answer.status < HTTPStatus.BAD_REQUEST:
        target = answer.redactor.text(str(without_userinfo(answer.location)))
        return f"{answer.url} answered {answer.status} and points to {target}: is {setting} right?"
    hint = f" (is {setting} right?)" if answer.status in NOT_FOUND else ""
    return f"{answer.url} answered {answer.status}{hint}: {answer.quoted}"

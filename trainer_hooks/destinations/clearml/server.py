"""ClearML's server, by the SDK's own session: its configuration, credentials and login, but our patience.

Only here is `clearml` imported. By itself it would try 240 times, with pauses of up to two minutes; here each call ends
soon, and the lane tries again.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from trainer_hooks.clearml_task import check_installed
from trainer_hooks.errors import Rejected, RetryLater
from trainer_hooks.settings import without_userinfo
from trainer_hooks.shield import ask

_CONNECT, _READ = 5.0, 30.0
_ONCE = {"total": 0, "connect": 0, "read": 0, "redirect": 3, "status": 0, "backoff_factor": 0, "backoff_max": 0}
_OK = 200
_REFUSES_CREDENTIALS = (401, 403)
_MAY_BE_BETTER_SOON = (408, 425, 429)
_TOO_LARGE = 413
_SERVER_ERROR = 500
_LONGEST_TEXT = 300


def preload() -> None:
    """Import the SDK now, in this thread: it takes more than a second, and the interpreter for itself meanwhile.

    Raises:
        ImportError: or whatever else comes of a broken package or configuration.
    """
    import clearml.backend_api  # noqa: F401


class Server:
    """The API of the server that the SDK is configured for; connected with the first call."""

    def __init__(self) -> None:
        self._session: Any = None
        self.web = ""
        """The address of its pages; empty where it isn't known."""

    def call(self, service: str, action: str, **body: Any) -> dict[str, Any]:
        """Call `<service>.<action>`; returns the answer's data.

        Raises:
            Rejected: if the server will never take this.
            RetryLater: if it could not be asked, or can't answer now.
        """
        return self._send(service, action, json=body)

    def add_events(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Send events, each of the shape of `events.add`.

        Raises:
            Rejected: if the server refuses any of them.
            RetryLater: as `call`.
        """
        body = b"\n".join(map(msgspec.json.encode, events))
        answer = self._send("events", "add_batch", data=body, headers={"Content-Type": "application/json-lines"})
        if answer.get("errors"):
            message = f"refused {answer['errors']} of {len(events)} events: {answer.get('errors_info', '')}"
            raise Rejected(message[:_LONGEST_TEXT])

    def upload(self, file: Path, key: str) -> str:
        """Put a file on the server for files; returns its address there. `key` is a path that needs no quoting.

        Raises:
            RetryLater: if it could not be put.
        """
        session = self._connected()
        put = ask(lambda: _put(session, file, key))
        if isinstance(put, Exception):
            message = f"ClearML's server for files does not take {file.name}: {_said(put)}"
            raise RetryLater(message)
        return put

    def close(self) -> None:
        """Let go of the session."""
        self._session = None

    def _connected(self) -> Any:
        if self._session is None:
            session = ask(_connect)
            if isinstance(session, Exception):
                # A package that can't be imported, or a configuration that can't be read, may be mended for a sync.
                message = f"ClearML can't be used: {_said(session)}"
                raise session if isinstance(session, RetryLater) else RetryLater(message)
            self._session, self.web = session, _web(session)
        return self._session

    def _send(self, service: str, action: str, **request: Any) -> dict[str, Any]:
        session = self._connected()
        # POST, where the SDK would send a body with GET, which proxies drop.
        answer = ask(lambda: session.send_request(service, action, session.api_version, method="post", **request))
        if isinstance(answer, Exception):
            self._session = None
            message = f"ClearML can't be reached: {_unanswered(answer) or _said(answer)}"
            raise RetryLater(message)
        if answer is None:
            raise _offline()
        return _read(f"{service}.{action}", answer)


def _connect() -> Any:
    """A session that is logged in.

    Raises:
        RetryLater: if that can't be had: the server may come up, and credentials may be set for a later sync.
    """
    check_installed()
    from clearml.backend_api import Session

    class OurSession(Session):  # type: ignore[misc]
        """The SDK's own, but that each request is made once: by itself it repeats some of them for ever."""

        _session_initial_timeout = _session_timeout = _write_session_timeout = (_CONNECT, _READ)

        @property
        def _Session__http_session(self) -> Any:  # noqa: N802 - the SDK's private name for it
            return self.http

        @_Session__http_session.setter
        def _Session__http_session(self, http: Any) -> None:  # noqa: N802 - as above
            http.request = _once(http.request)
            self.http = http

    if Session._offline_mode:  # noqa: SLF001 - has no public way to be asked
        raise _offline()
    logger = logging.getLogger("trainer_hooks.clearml")
    session = ask(lambda: OurSession(initialize_logging=False, logger=logger, http_retries_config=dict(_ONCE)))
    if isinstance(session, Exception):
        unanswered = _unanswered(session)
        message = f"ClearML can't be reached at {_host(Session)}: {unanswered}"
        if unanswered is None:
            message = (
                f"ClearML at {_host(Session)} takes no login: {_said(session)}; set CLEARML_API_HOST, "
                "CLEARML_API_ACCESS_KEY and CLEARML_API_SECRET_KEY, or run clearml-init"
            )
        raise RetryLater(message)
    return session


class _Unanswered(Exception):
    """A request got no answer that the SDK would make anything of but the same request again."""


def _once(request: Callable[..., Any]) -> Callable[..., Any]:
    def made(*arguments: Any, **options: Any) -> Any:
        answer = ask(lambda: request(*arguments, **options))
        if isinstance(answer, Exception):
            raise _Unanswered(_said(answer)) from answer
        if answer.status_code >= _SERVER_ERROR:
            message = f"it answers {answer.status_code}"
            raise _Unanswered(message)
        return answer

    return made


def _unanswered(error: BaseException | None) -> _Unanswered | None:
    """The request without an answer that is behind the error, if there is one."""
    while error is not None and not isinstance(error, _Unanswered):
        error = error.__cause__ or error.__context__
    return error


def _host(session: Any) -> str:
    host = ask(session.get_api_server_host)
    return str(without_userinfo(host)) if isinstance(host, str) else "an address that is not set"


def _put(session: Any, file: Path, key: str) -> str:
    host = str(session.get_files_server_host(session.config)).rstrip("/")
    if host.startswith("http"):
        _post(session, host, file, key)
    else:
        _store(host, file, key)
    return f"{without_userinfo(host)}/{key}"


def _post(session: Any, host: str, file: Path, key: str) -> None:
    """As the SDK does: a form with one file, whose name is its path there."""
    with file.open("rb") as content:
        form, headers = {key: (key, content)}, session.add_auth_headers({})
        answer = session.http.post(host, files=form, headers=headers, timeout=(_CONNECT, _READ))
    answer.raise_for_status()


def _store(host: str, file: Path, key: str) -> None:
    """Where that server is a bucket."""
    from clearml import StorageManager

    target = f"{host}/{key}"
    if not StorageManager.upload_file(local_file=str(file), remote_url=target, wait_for_upload=True, retries=1):
        message = f"{without_userinfo(target)} was not stored"
        raise OSError(message)


def _offline() -> RetryLater:
    return RetryLater("ClearML's offline mode is on: unset CLEARML_OFFLINE_MODE for `trainer-hooks sync`")


def _web(session: Any) -> str:
    with contextlib.suppress(ValueError):  # an address that its pages' one can't be made of
        return str(without_userinfo(session.get_app_server_host(session.config)))
    return ""


def _read(called: str, answer: Any) -> dict[str, Any]:
    content = ask(answer.json)
    meta = content.get("meta", {}) if isinstance(content, dict) else {}
    if answer.status_code == _OK and isinstance(content, dict):
        return dict(content.get("data") or {})
    reason = meta.get("result_msg") or answer.text[:_LONGEST_TEXT]
    said = f"ClearML answers {called} with {answer.status_code}: {reason}"
    if answer.status_code in _REFUSES_CREDENTIALS:
        message = f"{said}; check CLEARML_API_ACCESS_KEY and CLEARML_API_SECRET_KEY"
        raise RetryLater(message)
    if answer.status_code == _TOO_LARGE:
        raise Rejected(said)
    # Another server that happens to answer there is no reason to give records up.
    if answer.status_code >= _SERVER_ERROR or answer.status_code in _MAY_BE_BETTER_SOON or "result_code" not in meta:
        raise RetryLater(said)
    raise Rejected(said)


def _said(error: Exception) -> str:
    # Of what requests wraps in "Max retries exceeded", though there is no retry, the reason alone.
    cause = getattr(error.args[0], "reason", None) if error.args else None
    told = cause if isinstance(cause, Exception) else error
    text = str(without_userinfo(f"{type(told).__name__}: {told}"))
    return " ".join(text.split())[:_LONGEST_TEXT]

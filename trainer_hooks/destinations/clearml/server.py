"""ClearML's server, by the SDK's own session: its configuration, credentials and login, but our patience.

Only here is `clearml` imported. By itself it would try 240 times, with pauses of up to two minutes; here each call ends
soon, and the lane tries again.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from trainer_hooks.clearml_task import check_installed
from trainer_hooks.errors import Rejected, RetryLater
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
        """Put a file on the server for files; returns its address there.

        Raises:
            RetryLater: if it could not be put.
        """
        session = self._connected()
        host = str(session.get_files_server_host(session.config)).rstrip("/")
        put = ask(lambda: _post(session, host, file, key) if host.startswith("http") else _store(host, file, key))
        if isinstance(put, Exception):
            message = f"ClearML's server for files, {host}, does not take {file.name}: {_said(put)}"
            raise RetryLater(message)
        return f"{host}/{key}"

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
            message = f"ClearML can't be reached: {_said(answer)}"
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
    import requests
    from clearml.backend_api import Session
    from clearml.config import config_obj

    class OurSession(Session):  # type: ignore[misc]
        _session_initial_timeout = _session_timeout = _write_session_timeout = (_CONNECT, _READ)

    if Session._offline_mode:  # noqa: SLF001 - has no public way to be asked
        raise _offline()
    host = Session.get_api_server_host()
    # Asked first: with a certificate that can't be verified the SDK would try for ever.
    verify = config_obj.get("api.verify_certificate", default=True)
    reached = ask(lambda: requests.get(f"{host}/debug.ping", timeout=(_CONNECT, _READ), verify=verify))
    if isinstance(reached, Exception):
        message = f"ClearML can't be reached at {host}: {_said(reached)}"
        raise RetryLater(message)
    if reached.status_code >= _SERVER_ERROR:
        message = f"ClearML at {host} answers {reached.status_code}"
        raise RetryLater(message)
    logger = logging.getLogger("trainer_hooks.clearml")
    session = ask(lambda: OurSession(initialize_logging=False, logger=logger, http_retries_config=dict(_ONCE)))
    if isinstance(session, Exception):
        message = (
            f"ClearML at {host} takes no login: {_said(session)}; set CLEARML_API_HOST, CLEARML_API_ACCESS_KEY and "
            "CLEARML_API_SECRET_KEY, or run clearml-init"
        )
        raise RetryLater(message)
    return session


def _post(session: Any, host: str, file: Path, key: str) -> None:
    """As the SDK does: a form with one file, whose name is its path there."""
    import requests

    with file.open("rb") as content:
        answer = requests.post(
            host,
            files={key: (key, content)},
            headers=session.add_auth_headers({}),
            timeout=(_CONNECT, _READ),
            verify=session.config.get("api.verify_certificate", default=True),
        )
    answer.raise_for_status()


def _store(host: str, file: Path, key: str) -> None:
    """Where that server is a bucket."""
    from clearml import StorageManager

    StorageManager.upload_file(local_file=str(file), remote_url=f"{host}/{key}", wait_for_upload=True, retries=1)


def _offline() -> RetryLater:
    return RetryLater("ClearML's offline mode is on: unset CLEARML_OFFLINE_MODE for `trainer-hooks sync`")


def _web(session: Any) -> str:
    with contextlib.suppress(ValueError):  # an address that its pages' one can't be made of
        return str(session.get_app_server_host(session.config))
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
    return " ".join(f"{type(error).__name__}: {error}".split())[:_LONGEST_TEXT]

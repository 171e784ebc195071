"""A receiver over a directory of runs, for the commands that start one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from trainer_hooks.errors import InvalidSetting, MissingPackage, SetupError
from trainer_hooks.settings import Settings

if TYPE_CHECKING:
    import socket

    from fastapi.middleware import Middleware

    from trainer_hooks.receiver.backend import Backend
    from trainer_hooks.receiver.tokens import Tokens

_NEEDED = ("fastapi", "jinja2", "uvicorn")
_ADDRESS = "address"


@dataclass(frozen=True)
class Serving:
    """A receiver that listens; `here` is its address on this machine, `url` the one that others reach it by."""

    backend: Backend
    listening: socket.socket
    here: str
    behind: Middleware | None = None

    @property
    def url(self) -> str:
        """Without a slash at its end."""
        return self.backend.url or self.here

    def run(self) -> None:
        """Answer until Ctrl-C or SIGTERM."""
        from trainer_hooks.receiver.serving import serve

        serve(self.backend, self.listening, self.behind)


def check_installed() -> None:
    """Raises MissingPackage for what `[receiver]` would have brought."""
    missing = [package for package in _NEEDED if find_spec(package) is None]
    if missing:
        message = f"{' and '.join(missing)} can't be found; install them with: pip install 'trainer-hooks[receiver]'"
        raise MissingPackage(message)


@contextlib.contextmanager
def receiver(root: Path, tokens: Tokens, settings: Settings, place: tuple[str, int]) -> Iterator[Serving]:
    """A receiver over `root` that listens at that host and port, 0 for a free one.

    Raises:
        SetupError: if the address can't be had, or another receiver is at work there.
        OSError: if the directory can't be written.
    """
    from trainer_hooks.receiver.backend import open_backend
    from trainer_hooks.receiver.inbox import own_directory
    from trainer_hooks.receiver.serving import listen
    from trainer_hooks.storage import GivesAddresses, open_configured

    listening = listen(*place, needs_token=tokens.are_needed, url=settings.serve_url)
    # What runs tell of names objects in it: a link there would have the server read anything else.
    store = open_configured(settings, follow_links_out=False)
    heartbeat = settings.heartbeat or Settings().heartbeat
    backend = open_backend(root, tokens, heartbeat=heartbeat, store=store, url=settings.serve_url)
    host, port = listening.getsockname()[:2]
    here = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    note = own_directory(root) / _ADDRESS
    try:
        with _shared(settings.serve_store, root, is_store_shared=isinstance(store, GivesAddresses)) as behind:
            note.write_text(backend.url or here)
            yield Serving(backend, listening, here, behind)
    finally:
        note.unlink(missing_ok=True)
        backend.close()


@contextlib.contextmanager
def _shared(url: str | None, root: Path, *, is_store_shared: bool) -> Iterator[Middleware | None]:
    """What has this receiver do as all others that share the database do."""
    if url is None:
        yield None
        return
    if not url.startswith(("postgresql://", "postgres://")):
        raise InvalidSetting("serve_store (TRAINER_HOOKS_SERVE_STORE) takes postgresql://user:password@host/name")
    if not is_store_shared:
        message = (
            "receivers that share a database need one place for checkpoints and images, too: set TRAINER_HOOKS_STORAGE "
            "to s3://bucket/prefix"
        )
        raise SetupError(message)
    if find_spec("psycopg") is None or find_spec("psycopg_pool") is None:
        raise MissingPackage("psycopg can't be found; install it with: pip install 'trainer-hooks[postgres]'")
    from fastapi.middleware import Middleware

    from trainer_hooks.receiver.postgres.log import Log
    from trainer_hooks.receiver.postgres.replica import Replica, check_place

    log = Log(url)
    try:
        check_place(root, log)
        yield Middleware(Replica, log=log, root=root)
    finally:
        log.close()


def address_of_other(root: Path) -> str | None:
    """Where the receiver that is at work on `root` says that it is; None if it doesn't."""
    from trainer_hooks.receiver.inbox import own_directory

    try:
        return (own_directory(root) / _ADDRESS).read_text()
    except FileNotFoundError:
        return None

"""The checks of `trainer-hooks doctor`, each of which does the real thing and says how to mend what failed."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trainer_hooks import __version__
from trainer_hooks.destinations.platform.address import platform_server
from trainer_hooks.destinations.synapse.address import synapse_server
from trainer_hooks.destinations.synapse.job import job_path
from trainer_hooks.errors import RetryLater, SetupError, StorageError
from trainer_hooks.files import write_whole
from trainer_hooks.integrations import known_frameworks
from trainer_hooks.settings import Settings, autolog_frameworks, without_userinfo
from trainer_hooks.shield import ask
from trainer_hooks.storage import open_dataset_storage, open_storage
from trainer_hooks.wire.answers import NOT_FOUND, Answer

_LIBRARIES = ("msgspec", "click", "httpx", "boto3", "clearml", "rich")
_CONTENT = b"trainer-hooks doctor\n"
_SHORTLY = 10.0
_LONG_IMPORT = 120.0
_LITTLE_ROOM = 1 << 30


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. `mend` is empty where there is nothing to do."""

    name: str
    status: Literal["ok", "failed", "not configured"]
    found: str
    mend: str = ""


def check_all(settings: Settings) -> Iterator[Check]:
    """Every check, in the order in which they are best read."""
    yield _versions()
    for framework in known_frameworks():
        yield _framework(framework)
    yield _attaching()
    yield check_directory(settings.root)
    yield check_platform(settings)
    yield check_synapse(settings)
    yield check_storage(settings)
    yield check_clearml(settings)
    yield check_dataset_storage(settings)
    if settings.dataset_storage_uri is not None:
        yield check_directory(settings.cache_root, "dataset cache", _CACHE)


def _versions() -> Check:
    found = [f"trainer-hooks {__version__}", f"Python {platform.python_version()}"]
    installed = {distribution.name for distribution in importlib.metadata.distributions()}
    found += [
        f"{name} {importlib.metadata.version(name)}" if name in installed else f"no {name}" for name in _LIBRARIES
    ]
    return Check("versions", "ok", ", ".join(found))


def _framework(name: str) -> Check:
    """Attach to it in a process of its own: what is installed may fail to be imported, print, or crash."""
    if importlib.util.find_spec(name) is None:
        return Check(name, "not configured", "not installed")
    command = [sys.executable, "-c", f"import trainer_hooks; trainer_hooks.autolog({name!r})"]
    found = f"{name} {_version(name)}"
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LONG_IMPORT, check=False)
    except subprocess.TimeoutExpired:
        return Check(name, "failed", f"{found}: not imported within {_LONG_IMPORT:g} s", "is its disk very slow?")
    said = done.stderr.strip().splitlines()[-1:]
    if done.returncode:
        reason = " ".join(said) or f"exit status {done.returncode}"
        return Check(name, "failed", f"{found}: {reason}", f"reinstall {name}")
    return Check(name, "ok", "; ".join([f"{found}, can be attached to", *said]))


def _version(package: str) -> str:
    """By what is installed: a package may come under another name, as ultralytics-opencv-headless does."""
    names = importlib.metadata.packages_distributions().get(package, [])
    return importlib.metadata.version(names[0]) if names else "of unknown version"


def _attaching() -> Check:
    listed = autolog_frameworks()
    installed = [name for name in known_frameworks() if importlib.util.find_spec(name)]
    unknown = [name for name in listed if name not in known_frameworks()]
    if unknown:
        mend = f"correct TRAINER_HOOKS_AUTOLOG (known: {', '.join(known_frameworks())})"
        return Check("attaching", "failed", f"unknown: {', '.join(unknown)}", mend)
    chosen = [name for name in installed if name in (listed or installed)]
    if not chosen:
        return Check("attaching", "not configured", "trainer-hooks run attaches to nothing: no framework is installed")
    return Check("attaching", "ok", f"trainer-hooks run attaches to {', '.join(chosen)}")


_RUNS = "make it writable, or name another in TRAINER_HOOKS_DIR"
_CACHE = "make it writable, or name another in DATASET_CACHE_DIR"


def check_directory(root: Path, name: str = "directory", mend: str = _RUNS) -> Check:
    """Write, read and remove a file there; where it doesn't exist yet, in the nearest directory that does."""
    existing = next(path for path in (root, *root.parents) if path.exists())
    try:
        with tempfile.TemporaryDirectory(prefix=".doctor-", dir=existing) as folder:
            file = Path(folder) / "file"
            write_whole(file, _CONTENT)
            whole = file.read_bytes() == _CONTENT
        free = shutil.disk_usage(existing).free
    except OSError as error:
        return Check(name, "failed", f"{root}: {error.strerror}", mend)
    if not whole:
        return Check(name, "failed", f"{root}: what was written isn't what is read", mend)
    found = f"{root}: writable, {free / 1e9:.1f} GB free"
    if free < _LITTLE_ROOM:
        return Check(name, "failed", found, f"make room; or {mend}")
    return Check(name, "ok", found)


def check_platform(settings: Settings) -> Check:
    """Ask the platform which protocol it speaks; a GET, so that nothing is told."""
    if not settings.callback_url:
        return Check("platform", "not configured", "CALLBACK_URL is not set")
    from trainer_hooks.wire.client import Client

    address = "correct CALLBACK_URL: it has the form https://host/api/v1"
    try:
        client = Client(platform_server(settings), connect=_SHORTLY, total=_SHORTLY)
    except (SetupError, ValueError) as error:
        return Check("platform", "failed", str(error), address)
    answer = ask(lambda: client.get("/trainer-hooks"))
    client.close()
    if isinstance(answer, RetryLater):
        return Check("platform", "failed", str(answer), f"is the platform up, and reachable from here? Else {address}")
    if isinstance(answer, Exception):
        return Check("platform", "failed", f"{type(answer).__name__}: {answer}", address)
    return _answered(answer, settings, address)


def _answered(answer: Answer, settings: Settings, address: str) -> Check:
    where = without_userinfo(settings.callback_url)
    if answer.refuses_credentials:
        mend = "set TRAINER_HOOKS_TOKEN, or the file that TRAINER_HOOKS_TOKEN_FILE names, to a token that it takes"
        return Check("platform", "failed", f"{where} answers {answer.status}: it doesn't take the token", mend)
    protocol = (answer.content or {}).get("protocol") if answer.is_success else None
    if protocol == "trainer-hooks/1":
        token = ", takes the token" if _has_token(settings) else ""
        return Check("platform", "ok", f"{where} speaks {protocol}{token}")
    if answer.status in NOT_FOUND and answer.content is not None:
        found = f"{where} answers, without trainer-hooks/1: it is told by predecessor B's callbacks"
        if _has_token(settings):
            found += "; whether they take the token shows when the first is sent"
        return Check("platform", "ok", found)
    return Check("platform", "failed", f"{where} answers {answer.status}: {answer.quoted}", address)


def _has_token(settings: Settings) -> bool:
    return bool(settings.bearer_token())


def check_synapse(settings: Settings) -> Check:
    """Ask for the job; nothing is told."""
    if not (settings.synapse_host and settings.synapse_job):
        return Check("synapse", "not configured", "SYNAPSE_HOST and SYNAPSE_JOB_ID are not both set")
    from trainer_hooks.wire.client import Client

    server = synapse_server(settings)
    client = Client(server, connect=_SHORTLY, total=_SHORTLY)
    answer = ask(lambda: client.get(job_path(str(settings.synapse_job))))
    client.close()
    where = f"{without_userinfo(server.url)}: job {settings.synapse_job}"
    if isinstance(answer, Exception):
        mend = "is the backend up, and reachable from here? Else correct SYNAPSE_HOST"
        return Check("synapse", "failed", str(answer), mend)
    if answer.refuses_credentials:
        mend = f"correct {server.credentials_settings}"
        return Check("synapse", "failed", f"{where}: it answers {answer.status}", mend)
    status = (answer.content or {}).get("status") if answer.is_success else None
    if status is None:
        return Check(
            "synapse", "failed", f"{where}: it answers {answer.status}: {answer.quoted}", "correct SYNAPSE_JOB_ID"
        )
    return Check("synapse", "ok", f"{where} is {status}, and the credentials are taken")


def check_clearml(settings: Settings) -> Check:
    """Log in, and ask for a project; nothing is made there."""
    if not settings.clearml:
        return Check("clearml", "not configured", "TRAINER_HOOKS_CLEARML is not set to 1")
    from trainer_hooks.destinations.clearml.server import Server

    if importlib.util.find_spec("clearml") is None:
        return Check("clearml", "failed", "not installed", "pip install 'trainer-hooks[clearml]'")
    server = Server()
    answer = ask(lambda: server.call("projects", "get_all", page=0, page_size=1))
    if isinstance(answer, Exception):
        mend = "check CLEARML_API_HOST and the credentials, or run clearml-init; until then runs wait in their journals"
        return Check("clearml", "failed", str(answer), mend)
    return Check("clearml", "ok", f"logged in; its pages are at {server.web or 'an address that is not known'}")


def check_storage(settings: Settings) -> Check:
    """Put a small object, read it back, compare, delete it."""
    if settings.storage_uri is None:
        return Check("storage", "not configured", "TRAINER_HOOKS_STORAGE is not set")
    uri = str(without_userinfo(settings.storage_uri))
    key = f"checkpoints/.doctor-{secrets.token_hex(8)}"
    try:
        problem = _put_and_get(settings, key)
    except SetupError as error:
        return Check("storage", "failed", str(error), "correct TRAINER_HOOKS_STORAGE, or install what it needs")
    except StorageError as error:
        mend = "check the address, the bucket, the credentials and their permission to put, get and delete"
        return Check("storage", "failed", f"{uri}: {error}", mend)
    if problem:
        return Check("storage", "failed", f"{uri}: {problem}", "the store is at fault: ask its operators")
    return Check("storage", "ok", f"{uri}: an object was put, read back and deleted")


def check_dataset_storage(settings: Settings) -> Check:
    """Ask for the first object below `datasets/`."""
    if settings.dataset_storage_uri is None:
        missing = "neither TRAINER_HOOKS_DATASET_STORAGE nor EXTERNAL_BUCKET_DATASETS is set"
        return Check("dataset storage", "not configured", missing)
    uri = str(without_userinfo(settings.dataset_storage_uri))
    try:
        storage = open_dataset_storage(settings)
        first = next(iter(storage.list("datasets/")), None) if storage is not None else None
    except SetupError as error:
        return Check("dataset storage", "failed", str(error), "correct its address, or install what it needs")
    except StorageError as error:
        mend = "check the address, the bucket, the credentials and their permission to list and get"
        return Check("dataset storage", "failed", f"{uri}: {error}", mend)
    return Check(
        "dataset storage", "ok", f"{uri}: listed, {'with' if first else 'without any'} datasets below datasets/"
    )


def _put_and_get(settings: Settings, key: str) -> str:
    storage = open_storage(
        str(settings.storage_uri),
        endpoint=settings.storage_endpoint,
        access_key=settings.storage_access_key,
        secret_key=settings.storage_secret_key,
    )
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "source", Path(folder) / "target"
        source.write_bytes(_CONTENT)
        try:
            storage.put(source, key)
            storage.get(key, target)
        finally:
            storage.delete(key)
        return "" if target.read_bytes() == _CONTENT else "what was put isn't what was read"

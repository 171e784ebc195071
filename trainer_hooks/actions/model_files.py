"""Models that actions begin with: fetched once, verified, and kept for the next action; jobs may share the place."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from trainer_hooks.actions.archives import sha256_of, unpack
from trainer_hooks.actions.new_folders import new_folder
from trainer_hooks.errors import BackendError
from trainer_hooks.files import locked, write_whole

if TYPE_CHECKING:
    from trainer_hooks.actions.backends import BackendClient

_ZIP = ".zip"
_FILES = "files"  # of an entry: the one file, or the one folder that it was extracted to
_DIGESTS = "sha256.json"  # and what was in each of them when it was fetched
# For another process to fetch many gigabytes from a slow server; if it dies, its lock goes with it.
_FETCHED_WITHIN = 3 * 3600.0


def restored_model(client: BackendClient, model: Mapping[str, Any], root: Path) -> Path:
    """The model's file on this machine, whole and verified; of a file called ….zip, the folder that it was made from.

    Fetched once for all processes that share `root`; read through each time, and fetched anew where it has changed. An
    archive is known by its name, never by its content: PyTorch's files are zips, too.

    Raises:
        BackendError: if it can't be had whole, or another process takes hours to fetch it.
        OSError: if it can't be written.
    """
    entry = root / _key(model)
    try:
        with locked(root / f".{entry.name}.lock", _FETCHED_WITHIN):
            return _kept(entry) or _fetched(client, model, entry)
    except TimeoutError as error:
        message = f"{error} for {_FETCHED_WITHIN / 3600:g} hours, to fetch model {model.get('id')!r}"
        raise BackendError(message) from error


def _key(model: Mapping[str, Any]) -> str:
    """What the content is kept under: its checksum where it is known, else where it comes from.

    An address's query doesn't count: signatures in it differ with each time that the model is asked for.
    """
    where = re.split(r"[?#]", str(model.get("file")), maxsplit=1)[0]
    source = f"{model['sha256']} {Path(where).name}" if model.get("sha256") else f"{model.get('id')} {where}"
    name = re.sub(r"[^A-Za-z0-9-]+", "-", str(model.get("id")))[:40]
    return f"{name}-{hashlib.sha256(source.encode()).hexdigest()[:24]}"


def _kept(entry: Path) -> Path | None:
    """What was fetched before, if it is still what it was: a training may have written into what it was given."""
    try:
        known = msgspec.json.decode((entry / _DIGESTS).read_bytes(), type=dict[str, str])
        is_sound = known and _digests_of(entry / _FILES) == known
    except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError, msgspec.MsgspecError):
        return None
    return _only_one_in(entry) if is_sound else None


def _fetched(client: BackendClient, model: Mapping[str, Any], entry: Path) -> Path:
    with new_folder(entry.parent) as folder:
        files = folder / _FILES
        files.mkdir()
        file = client.fetch_model_file(model, files)
        if file.suffix.lower() == _ZIP:
            unpack(file, files / file.stem)
            file.unlink()
        write_whole(folder / _DIGESTS, msgspec.json.encode(_digests_of(files)))
        with contextlib.suppress(FileNotFoundError):
            _move_away(entry)
        folder.rename(entry)
    return _only_one_in(entry)


def _only_one_in(entry: Path) -> Path:
    return next((entry / _FILES).iterdir())


def _digests_of(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if not path.is_dir())
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in files}


def _move_away(entry: Path) -> None:
    """What is no longer whole goes at one instant, so that nobody takes it for a model."""
    with new_folder(entry.parent) as folder:
        entry.rename(folder / entry.name)

"""How the platform stores a dataset, and what of it is to be fetched.

It lies below `datasets/<id>/`: annotation files, and the images that they name, which may lie elsewhere. In the cache
it has the same paths, relative to that prefix; images from elsewhere lie below `images/`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from trainer_hooks.datasets.caching.manifest import FileRecord
from trainer_hooks.datasets.fetching.allowing import Allowed
from trainer_hooks.datasets.fetching.annotation_files import (
    files_of_task,
    is_annotation_file,
    named_images,
    version_hash_of,
)
from trainer_hooks.datasets.fetching.downloads import Download, Wanted, find_objects, list_objects
from trainer_hooks.datasets.fetching.order import Plan, check_missing, check_places
from trainer_hooks.datasets.naming import check_path
from trainer_hooks.errors import DatasetError, InvalidSetting
from trainer_hooks.settings import Settings
from trainer_hooks.storage import Storage, StoredObject, open_dataset_storage

_DATASET_FOLDER = re.compile(r"datasets/[^/]+/")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Source:
    """Where a dataset lies: below `prefix` (which ends with / or is empty) of the storage."""

    storage: Storage
    prefix: str
    dataset_id: str
    address: str
    allowed: Allowed


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What of it is wanted; `version_hash` is lower-case hex digits."""

    task: str | None
    whole: bool
    max_missing: int
    version_hash: str | None


def find_source(dataset_id: str | None, uri: str | None, settings: Settings) -> Source:
    """Where the dataset of that id lies, or the one at that address.

    Raises:
        InvalidSetting, MissingPackage: if there is no storage for it, or it can't be used.
        DatasetError: if the id or the address can't be a dataset's.
    """
    if uri is not None:
        # Images may lie elsewhere in the bucket; out of a folder that is named, nothing is fetched.
        scheme, rest = _checked_address(uri)
        root, _, prefix = rest.partition("/") if scheme != "file" else (rest, "", "")
        storage = open_dataset_storage(settings, f"{scheme}://{root}")
        name = dataset_id or uri.rstrip("/").rpartition("/")[2]
    elif dataset_id is not None:
        storage, name, prefix = open_dataset_storage(settings), dataset_id, f"datasets/{_checked_id(dataset_id)}/"
    else:
        raise DatasetError("no dataset was named: give its dataset_id, or its address as uri")
    if storage is None:
        message = (
            "no storage is named for datasets: set EXTERNAL_BUCKET_DATASETS or TRAINER_HOOKS_DATASET_STORAGE, or give "
            "the dataset's address as uri"
        )
        raise InvalidSetting(message)
    prefix = f"{check_path(prefix.strip('/'), 'the address')}/" if prefix.strip("/") else ""
    return Source(storage, prefix, name, uri or storage.uri(prefix.rstrip("/")), Allowed(settings))


def _checked_address(uri: str) -> tuple[str, str]:
    """Its scheme and what follows."""
    scheme, separator, rest = uri.partition("://")
    if not separator:
        written = Path(uri).absolute().as_uri() if Path(uri).exists() else "file:///folder or s3://bucket/prefix"
        message = f"the dataset's address {uri!r} is no URI: write {written}"
        raise InvalidSetting(message)
    return scheme.lower(), rest


def _checked_id(dataset_id: str) -> str:
    if "/" in check_path(dataset_id, "dataset_id"):
        message = f"{dataset_id!r} can't be the id of a dataset: it is one name, without a /"
        raise DatasetError(message)
    return dataset_id


def planned(source: Source, request: Request, scratch: Path) -> Plan:
    """What is to be fetched; the annotation files that tell it are in `scratch`.

    Raises:
        DatasetError: if it isn't there, isn't whole, is another version, or names what can't be a file.
        StorageError: as of the storage, after several attempts.
    """
    there = _annotation_objects(source)
    chosen = [] if request.whole else files_of_task(request.task, there.keys(), source.address)
    read = {name: there[name] for name in (there if request.version_hash else chosen)}
    records = _read_annotations(source, read, scratch)
    if request.version_hash is not None:
        _check_version(source, request.version_hash, [scratch / name for name in read])
    if chosen:
        files = {name: scratch / name for name in chosen}
        named, missing = _named(source, files, request.max_missing)
        wanted = [one for one in named if one.path not in read]
    else:
        if not request.whole:
            level = logging.WARNING if request.task else logging.INFO
            _log.log(level, "%s has no annotation file: all of it is fetched", source.address)
        wanted, missing = _everything(source, but=read.keys()), ()
    check_places([*read, *(one.path for one in wanted)], source.address)
    return Plan([(record, scratch / record.path) for record in records], wanted, missing, "dice" if there else None)


def _annotation_objects(source: Source) -> dict[str, StoredObject]:
    """The annotation files that lie right below the prefix, by name."""
    objects = list_objects(source.storage, f"{source.prefix}annotations")
    found = {stored.key.removeprefix(source.prefix): stored for stored in objects}
    return {name: stored for name, stored in found.items() if "/" not in name and is_annotation_file(name)}


def _read_annotations(source: Source, objects: Mapping[str, StoredObject], scratch: Path) -> list[FileRecord]:
    records: list[FileRecord] = []
    wanted = [
        Wanted(source.storage, stored.key, check_path(name, source.address), stored.size, stored.modified)
        for name, stored in objects.items()
    ]
    Download(scratch, records.append).run(wanted, threads=max(1, len(wanted)))
    return sorted(records, key=lambda record: record.path)


def _check_version(source: Source, expected: str, files: list[Path]) -> None:
    found = version_hash_of(files)
    if not files:
        message = f"{source.address} has no annotation file, so it can't be the version {expected}: check its id"
        raise DatasetError(message)
    if found != expected:
        message = (
            f"{source.address} is another version of the dataset: its annotation files have the hash {found}, and "
            f"{expected} was asked for; take a new snapshot, or fetch without version_hash"
        )
        raise DatasetError(message)


def _everything(source: Source, *, but: Iterable[str]) -> list[Wanted]:
    left_out = set(but)
    wanted = []
    for stored in list_objects(source.storage, source.prefix):
        path = stored.key.removeprefix(source.prefix)
        if path in left_out or (path.endswith("/") and not stored.size):  # some tools make folders as empty objects
            continue
        check_path(path, source.address)
        wanted.append(Wanted(source.storage, stored.key, path, stored.size, stored.modified))
    if not wanted:
        message = f"there is nothing in {source.address}: check the dataset's id, and where datasets are stored"
        raise DatasetError(message)
    return wanted


def _named(source: Source, files: Mapping[str, Path], max_missing: int) -> tuple[list[Wanted], tuple[str, ...]]:
    """The images that the annotation files name, and those of them that aren't there."""
    wanted: dict[str, Wanted] = {}
    missing: dict[str, None] = {}
    for name, file in files.items():
        where = f"{source.address.rstrip('/')}/{name}"
        root, images = named_images(file, where)
        left = dict.fromkeys(check_path(image, where) for image in images)
        for prefix in _roots(source, root, where):
            found = find_objects(source.storage, {prefix + image for image in left})
            here = {image: found[prefix + image] for image in left if prefix + image in found}
            left = {image: None for image in left if image not in here}
            for image, stored in here.items():
                _check_allowed(source, stored.key)
                one = Wanted(source.storage, stored.key, _path(source, stored.key, image), stored.size, stored.modified)
                _add(wanted, one, where)
        missing |= left
    check_missing(source.address, list(missing), len(wanted), max_missing)
    return list(wanted.values()), tuple(missing)


def _check_allowed(source: Source, key: str) -> None:
    """The annotations may name what another dataset's owner keeps; of the dataset's own, nobody asks."""
    if not key.startswith(source.prefix):
        source.allowed.check(unquote(uri) if (uri := source.storage.uri(key)).startswith("file:") else uri)


def _roots(source: Source, root: str | None, where: str) -> list[str]:
    """Where in the storage the images may lie: where the file says, there within a copied dataset, or by custom."""
    roots = [f"{source.prefix}images/", source.prefix]
    if root and root.strip("/"):
        plain = root.lstrip("/")
        check_path(plain.rstrip("/"), where)
        folder = plain.rstrip("/") + "/"
        # A root without a / at its end is the beginning of a name, or a folder.
        roots = [plain, folder, _DATASET_FOLDER.sub(lambda _: source.prefix, folder, count=1), *roots]
    return list(dict.fromkeys(roots))


def _path(source: Source, key: str, image: str) -> str:
    return key.removeprefix(source.prefix) if key.startswith(source.prefix) else f"images/{image}"


def _add(wanted: dict[str, Wanted], one: Wanted, where: str) -> None:
    other = wanted.setdefault(one.path, one)
    if other.key != one.key:
        message = f"{where} names two images that would be one file, {one.path}: {other.key} and {one.key}; rename one"
        raise DatasetError(message)

"""A dataset that is given as a list of images and their labels, each by its address.

In the cache an image of a LabelMe list lies beside its label, `data/<name>.jpg` and `data/<name>.json`, where such
labels are looked for; those of a COCO list lie below `images/`, under the names that the labels have for them, and
`annotations/`.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from os.path import commonprefix
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

import msgspec

from trainer_hooks.datasets.caching.cache import Cache, key_of
from trainer_hooks.datasets.caching.manifest import FileRecord, record_of
from trainer_hooks.datasets.caching.workplace import Origin, Workplace
from trainer_hooks.datasets.dataset import Dataset
from trainer_hooks.datasets.fetching.allowing import Allowed
from trainer_hooks.datasets.fetching.annotation_files import named_images
from trainer_hooks.datasets.fetching.downloads import Download, Progress, Wanted, find_objects
from trainer_hooks.datasets.fetching.order import Plan, carry_out, check_missing, check_places
from trainer_hooks.datasets.naming import check_path
from trainer_hooks.errors import DatasetError
from trainer_hooks.settings import Settings
from trainer_hooks.storage import Storage, StoredObject, open_dataset_storage

CLASSES = "classes.json"
_WHERE = "the list of annotations"
_BUCKET = re.compile(r"[^@:\x00-\x1f\x7f]*")


class _Item(msgspec.Struct, frozen=True):
    img_path: str
    label_path: str


class _List(msgspec.Struct):
    data_summary: list[_Item]
    class_summary: Any = None


class _Address(msgspec.Struct, frozen=True):
    """Of one object: the address of what it lies in (a bucket, the disk), with a / at its end, and its key there."""

    root: str
    key: str

    def __str__(self) -> str:
        return self.root + self.key


class _Pair(msgspec.Struct, frozen=True):
    image: _Address
    label: _Address


_Places = dict[str, _Address]  # by path in the dataset
_Objects = dict[_Address, tuple[Storage, StoredObject]]
_Read = tuple[FileRecord, Path]


def fetch_annotation(
    annotation: Mapping[str, Any],
    *,
    format: str = "labelme",  # noqa: A002 - what the platform calls it
    max_missing: int = 0,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """The images and labels that `annotation["data_summary"]` lists, each with an `img_path` and a `label_path`.

    From the cache if all of them are there as the storage has them now, else from the storage into the cache. Paths are
    addresses (`s3://bucket/key`, `file:///path`); TRAINER_HOOKS_DATASET_ALLOW says which may be named. `format`:
    "labelme", a label for each image, or "coco", for each or for all together. No two images get one name. Up to
    `max_missing` images may be missing, or have no label; `class_summary` is kept as `classes.json`. `progress` is
    called with the files and bytes that have come so far.

    Raises:
        DatasetError: if the list is none, is empty, or names what may not be fetched or isn't there.
        InvalidSetting, MissingPackage, StorageError, OSError: as `fetch`.
    """
    settings = settings or Settings.load()
    planned = _plan_of(format)
    listed = _parsed(annotation)
    pairs = list(dict.fromkeys(_Pair(_address(one.img_path), _address(one.label_path)) for one in listed.data_summary))
    _check_allowed(pairs, Allowed(settings))
    objects = _objects(pairs, settings)
    here = [pair for pair in pairs if pair.image in objects and pair.label in objects]
    missing = tuple(str(pair.image) for pair in pairs if pair.image not in objects or pair.label not in objects)
    check_missing(_WHERE, missing, len(here), max_missing)
    classes = _encoded(listed.class_summary)
    content = _content(here, objects, classes)
    cache = Cache(settings)

    def fill(workplace: Workplace) -> Origin:
        read, wanted = planned(here, objects, workplace.scratch)
        check_places((one.path for one in wanted), _WHERE)
        read += _classes(classes, workplace.scratch)
        carry_out(Plan(read, wanted, missing, format), workplace, cache, progress)
        return Origin(f"list-{content[:12]}", None, _WHERE, format, missing)

    key = key_of(endpoint=settings.dataset_endpoint, list=content, format=format, missing=missing)
    return cache.obtain(key, fill)


def _parsed(annotation: Mapping[str, Any]) -> _List:
    try:
        listed = msgspec.convert(annotation, _List)
    except msgspec.MsgspecError as error:
        message = f"{_WHERE} can't be used: {error}; write data_summary: [{{img_path: …, label_path: …}}, …]"
        raise DatasetError(message) from error
    if not listed.data_summary:
        message = f"{_WHERE} is empty: its data_summary names no image"
        raise DatasetError(message)
    return listed


def _address(text: str) -> _Address:
    scheme, separator, rest = text.partition("://")
    bucket, _, key = rest.partition("/")
    is_file = scheme.lower() == "file"
    if not separator or is_file != (bucket in ("", "localhost")) or not _BUCKET.fullmatch(bucket):
        # Not shown: an address of another form may hold a user:password@.
        message = f"{_WHERE} has an address that is none: write s3://bucket/key or file:///path"
        raise DatasetError(message)
    if is_file:
        return _Address("file:///", check_path(unquote(key), _WHERE))
    return _Address(f"{scheme.lower()}://{bucket}/", check_path(key, _WHERE))


def _check_allowed(pairs: Iterable[_Pair], allowed: Allowed) -> None:
    for pair in pairs:
        for address in (pair.image, pair.label):
            allowed.check(str(address))


def _objects(pairs: Iterable[_Pair], settings: Settings) -> _Objects:
    """What there is of all that is named."""
    keys: dict[str, set[str]] = {}
    for pair in pairs:
        for address in (pair.image, pair.label):
            keys.setdefault(address.root, set()).add(address.key)
    found: _Objects = {}
    for root, sought in keys.items():
        storage = open_dataset_storage(settings, root)
        if storage is not None:
            for key, stored in find_objects(storage, sought).items():
                found[_Address(root, key)] = storage, stored
    return found


def _encoded(class_summary: Any) -> bytes | None:
    if class_summary is None:
        return None
    try:
        return msgspec.json.encode(class_summary)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        message = f"the class_summary of {_WHERE} can't be written as JSON: {error}"
        raise DatasetError(message) from error


def _content(pairs: Iterable[_Pair], objects: _Objects, classes: bytes | None) -> str:
    """A digest of all that is listed, as the stores tell of it."""
    digest = hashlib.sha256(classes or b"")
    for pair in pairs:
        for address in (pair.image, pair.label):
            stored = objects[address][1]
            digest.update(f"{address}\n{stored.size} {stored.modified!r}\n".encode())
    return digest.hexdigest()


def _classes(encoded: bytes | None, scratch: Path) -> list[_Read]:
    if encoded is None:
        return []
    scratch.mkdir(exist_ok=True)
    file = scratch / CLASSES
    file.write_bytes(encoded)
    file.chmod(0o444)
    return [(record_of(file, CLASSES), file)]


def _wanted(places: _Places, objects: _Objects) -> list[Wanted]:
    wanted = []
    for path, address in places.items():
        storage, stored = objects[address]
        wanted.append(Wanted(storage, stored.key, check_path(path, _WHERE), stored.size, stored.modified))
    return wanted


def _as_labelme(pairs: Sequence[_Pair], objects: _Objects, _: Path) -> tuple[list[_Read], list[Wanted]]:
    """Each image with its label beside it; those of one stem, which would share a label, get different ones."""
    stems = Counter(_stem(pair.image) for pair in pairs)
    places: _Places = {}
    for pair in pairs:
        name = PurePosixPath(pair.image.key)
        stem = name.stem if stems[_stem(pair.image)] == 1 else f"{name.stem}-{_short_hash(pair.image, pair.label)}"
        _put(places, f"data/{stem}{name.suffix}", pair.image)
        _put(places, f"data/{stem}.json", pair.label)
    return [], _wanted(places, objects)


def _as_coco(pairs: Sequence[_Pair], objects: _Objects, scratch: Path) -> tuple[list[_Read], list[Wanted]]:
    """Each image where its label says that it is; the labels are read for that, into `scratch`."""
    labels: _Places = {}
    stems = Counter(_stem(label) for label in dict.fromkeys(pair.label for pair in pairs))
    for label in dict.fromkeys(pair.label for pair in pairs):
        stem = PurePosixPath(label.key).stem
        _put(labels, f"annotations/{stem if stems[_stem(label)] == 1 else f'{stem}-{_short_hash(label)}'}.json", label)
    records: list[FileRecord] = []
    Download(scratch, records.append).run(_wanted(labels, objects))
    named = {label: set(named_images(scratch / path, str(label))[1]) for path, label in labels.items()}
    places: _Places = {}
    for image, path in _named_places(pairs, named).items():
        _put(places, f"images/{path}", image)
    return [(record, scratch / record.path) for record in records], _wanted(places, objects)


def _named_places(pairs: Sequence[_Pair], named: Mapping[_Address, Collection[str]]) -> dict[_Address, str]:
    """Below `images/`: the name in its label, if that is the end of its address, else the end alone.

    Where these are not unique, its path below what all have in common.
    """
    paths = {pair.image: _longest_end(pair.image.key, named[pair.label]) for pair in pairs}
    counts = Counter(path.casefold() for path in paths.values())
    full = {image: str(image).partition("://")[2].lstrip("/") for image in paths}
    common = commonprefix([path[: path.rfind("/") + 1] for path in full.values()]).rfind("/") + 1  # noqa: RUF071 - cut at a /
    return {image: path if counts[path.casefold()] == 1 else full[image][common:] for image, path in paths.items()}


def _longest_end(key: str, names: Collection[str]) -> str:
    """The longest of the names that the key ends with, else its last part."""
    parts = key.split("/")
    ends = ("/".join(parts[start:]) for start in range(len(parts)))
    return next((end for end in ends if end in names), parts[-1])


_PLANS = {"labelme": _as_labelme, "coco": _as_coco}


def _plan_of(format: str) -> Any:  # noqa: A002 - as above
    if format not in _PLANS:
        message = f"no list of annotations is known for the format {format!r} (known: {', '.join(_PLANS)})"
        raise DatasetError(message)
    return _PLANS[format]


def _put(places: _Places, path: str, address: _Address) -> None:
    other = places.setdefault(path, address)
    if other != address:
        message = f"{_WHERE} names {other} and {address}, which would be one file: {path}; rename one"
        raise DatasetError(message)


def _stem(address: _Address) -> str:
    return PurePosixPath(address.key).stem.casefold()


def _short_hash(*addresses: _Address) -> str:
    return hashlib.sha256("\n".join(map(str, addresses)).encode()).hexdigest()[:8]

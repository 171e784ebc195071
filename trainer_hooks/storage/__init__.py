"""Where objects are kept, by URI: one module per scheme, chosen by its name.

A store is one file here that has `open(uri, **options)`, or an entry point of that shape in the group
`trainer_hooks.storage`, named as its scheme. All of them keep the contract of `Storage`, and
`tests/storage/test_contract.py` holds them to it.
"""

from __future__ import annotations

import contextlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast, runtime_checkable
from urllib.parse import unquote

import msgspec

from trainer_hooks.errors import InvalidSetting, MissingPackage, StorageRefused
from trainer_hooks.settings import Settings

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

_ENTRY_POINTS = "trainer_hooks.storage"
_MODULE_OF_SCHEME = {"file": "local"}
_PACKAGE_OF_SCHEME = {"s3": "boto3"}


class StoredObject(msgspec.Struct, frozen=True):
    """What a store says of one object: size in bytes, `modified` in seconds since 1970 by the store's own clock."""

    key: str
    size: int
    modified: float
    metadata: dict[str, str] = {}


class Storage(Protocol):
    """Objects under keys: whole, verified, and visible at one instant. Every method may be called from any thread.

    A key is relative and `/`-separated: at most 1,024 bytes of UTF-8, no empty part, `.`, `..`, backslash or control
    character. Metadata names are lower-case letters, digits and `-`, values printable ASCII; a store may add names of
    its own, and one that has no place for metadata (a directory) drops it.

    One writer per key at a time: of two at once, either object may stay, whole, and the other call may raise.

    Raises (all methods):
        StorageRefused: permission, credentials, no such bucket, malformed key: trying again won't help.
        StorageError: anything else that went wrong on the store's side or on the way to it; trying again may help.
        OSError: the caller's own file, source or target, can't be read or written.
    """

    def put(
        self,
        source: Path,
        key: str,
        *,
        metadata: Mapping[str, str] | None = None,
        before_visible: Callable[[], None] | None = None,
    ) -> StoredObject:
        """Store the file's content, whole and verified, or not at all.

        Until it is there whole, readers of `key` see the object that was there before; then, at one instant, the new
        one. `before_visible` is called once, in the calling thread, after everything has been transferred and
        verified and before the object becomes visible; when it raises, the old object stays and the error goes on to
        the caller. A source that changes meanwhile is a StorageError. After a failure the same call sends only what
        is missing, where the store can do so; an upload taken up again keeps the metadata it was begun with, so give
        the same metadata with the same content.
        """
        ...

    def put_bytes(self, content: bytes, key: str) -> StoredObject:
        """Store these bytes, whole and verified, or not at all."""
        ...

    def copy(self, key: str, new_key: str) -> StoredObject:
        """Copy within the store, metadata too, without a download; any size. Visible at one instant, as with `put`.

        Raises:
            ObjectMissing: if there is nothing under `key`.
        """
        ...

    def get(self, key: str, target: Path) -> StoredObject:
        """Download to the file `target`, whole or not at all; its directory must exist.

        Size verified always, content wherever the store's own checksum can be compared. An object that is replaced
        during the download is a StorageError, never a mixture.

        Raises:
            ObjectMissing: if there is nothing under `key`.
        """
        ...

    def read(self, key: str) -> bytes:
        """The content of a small object, whole.

        Raises:
            ObjectMissing: if there is nothing under `key`.
        """
        ...

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """All objects whose key begins with these characters, fetched as they are asked for, in the store's order.

        Their metadata may be empty. Objects that come or go during the listing may or may not be in it.
        """
        ...

    def stat(self, key: str) -> StoredObject:
        """What the store says of the object.

        Raises:
            ObjectMissing: if there is nothing under `key`.
        """
        ...

    def delete(self, key: str) -> None:
        """Remove the object; one that isn't there is no error."""
        ...

    def uri(self, key: str) -> str:
        """The object's full address: `s3://bucket/prefix/key`, `file:///directory/key`."""
        ...


@runtime_checkable
class GivesAddresses(Protocol):
    """A store that others can use without its credentials, by addresses that are good for so many seconds.

    Raises (both):
        StorageRefused: for a malformed key.
        StorageError: where there are no credentials to sign with.
    """

    def upload_address(self, key: str, seconds: int) -> str:
        """Where the object's content may be PUT."""
        ...

    def download_address(self, key: str, seconds: int) -> str:
        """Where the object, if it is there, may be fetched from."""
        ...


@runtime_checkable
class KeepsFiles(Protocol):
    """A store whose objects are files that this process can open."""

    def file(self, key: str) -> Path:
        """The object's file, to be read and left as it is.

        Raises:
            ObjectMissing: if there is nothing under `key`.
            StorageRefused: for a malformed key, or one that leads out of the store.
        """
        ...


def key_of(storage: Storage, uri: str) -> str | None:
    """The key that has this full address in the store; None for an address of elsewhere."""
    root = storage.uri("_").removesuffix("_")
    rest = uri.removeprefix(root) if uri.startswith(root) else ""
    for key in (rest, unquote(rest)):
        with contextlib.suppress(StorageRefused):
            if storage.uri(key) == uri:
                return key
    return None


def open_storage(
    uri: str,
    *,
    endpoint: str | None = None,
    access_key: str | None = None,
    secret_key: str | None = None,
    follow_links_out: bool = True,
) -> Storage:
    """The store that the URI names; nothing is connected yet. Keys are relative to the URI's path.

    With `follow_links_out=False`, nothing is read through a symbolic link that leads out of a directory's store.

    Raises:
        InvalidSetting: for a scheme nobody knows or a malformed URI.
        MissingPackage: if the store needs a package that isn't installed.
    """
    scheme = _check_scheme(uri)
    options = {"follow_links_out": follow_links_out} if scheme == "file" else {}
    return _factory(scheme)(uri, endpoint=endpoint, access_key=access_key, secret_key=secret_key, **options)


def open_configured(settings: Settings, *, follow_links_out: bool = True) -> Storage | None:
    """The store that the settings name; None where they name none.

    Raises:
        InvalidSetting, MissingPackage: as `open_storage`.
    """
    if settings.storage_uri is None:
        return None
    return open_storage(
        settings.storage_uri,
        endpoint=settings.storage_endpoint,
        access_key=settings.storage_access_key,
        secret_key=settings.storage_secret_key,
        follow_links_out=follow_links_out,
    )


def open_dataset_storage(settings: Settings, uri: str | None = None) -> Storage | None:
    """The store of the datasets; with `uri`, that place, by the same endpoint and keys. None where neither is named.

    Raises:
        InvalidSetting, MissingPackage: as `open_storage`.
    """
    place = uri or settings.dataset_storage_uri
    if place is None:
        return None
    return open_storage(
        place,
        endpoint=settings.dataset_endpoint,
        access_key=settings.dataset_access_key,
        secret_key=settings.dataset_secret_key,
        follow_links_out=False,  # whoever may put a dataset there may put a link there
    )


def check_storage(uri: str) -> None:
    """Find out at set-up time, without importing the store, whether `open_storage` could open this URI.

    Raises:
        InvalidSetting, MissingPackage: as `open_storage`.
    """
    scheme = uri.partition("://")[0].lower()
    package = _PACKAGE_OF_SCHEME.get(scheme)
    if package is not None and find_spec(package) is None:
        message = f"{scheme}:// needs the package {package!r}: pip install 'trainer-hooks[{scheme}]'"
        raise MissingPackage(message)
    _check_scheme(uri)


def _check_scheme(uri: str) -> str:
    scheme, separator, _ = uri.partition("://")
    if not separator:
        # Not shown: what isn't a URI at all may be a secret, pasted into the wrong variable.
        message = f"the storage address is not a URI; write s3://bucket/prefix or file:///path ({_known()})"
        raise InvalidSetting(message)
    if scheme.lower() not in _schemes() and not _of_others(scheme.lower()):
        message = (
            f"no storage is known for {scheme!r}:// ({_known()}); correct the scheme or install the package for it"
        )
        raise InvalidSetting(message)
    return scheme.lower()


def _factory(scheme: str) -> Callable[..., Storage]:
    if scheme in _schemes():
        module = import_module(f"{__name__}.{_MODULE_OF_SCHEME.get(scheme, scheme)}")
        return cast("Callable[..., Storage]", module.open)
    (entry_point, *_) = _of_others(scheme)
    return cast("Callable[..., Storage]", entry_point.load())


def _of_others(scheme: str | None = None) -> list[EntryPoint]:
    from importlib.metadata import entry_points  # takes longer to import than all of ours, and is seldom needed

    found = entry_points(group=_ENTRY_POINTS)
    return [point for point in found if scheme in (None, point.name)]


def _schemes() -> list[str]:
    scheme_of_module = {module: scheme for scheme, module in _MODULE_OF_SCHEME.items()}
    modules = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(scheme_of_module.get(name, name) for name in modules if not name.startswith("_"))


def _known() -> str:
    others = {entry_point.name for entry_point in _of_others()}
    return f"known: {', '.join(sorted({*_schemes(), *others}))}"

"""Objects as files under one directory: a local disk, or a mounted network file system.

There is no hash over the copy: reading it back would be answered from memory and prove nothing about the disk.
Instead the copy is made by the kernel, waited onto the disk, and its size compared. Metadata is not kept.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from trainer_hooks.errors import InvalidSetting, ObjectMissing, StorageError, StorageRefused
from trainer_hooks.files import copy_file, replacing, sync_file
from trainer_hooks.storage import StoredObject
from trainer_hooks.storage._keys import check_key, check_metadata

# A file on its way in; one that a killed process left behind is never taken for an object.
_ARRIVING = re.compile(r"\.[0-9a-f]{32}\.partial")
_REFUSED = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP}
)


def open(uri: str, *, follow_links_out: bool = True, **_options: object) -> LocalStorage:  # noqa: A001 - the name that `open_storage` looks for
    """The store in the directory that a `file:///path` URI names; the directory is made with the first object."""
    parts = urlsplit(uri)
    path = unquote(parts.path)
    if parts.netloc not in ("", "localhost") or not path.startswith("/") or parts.query or parts.fragment:
        message = f"{uri!r} can't be a storage address: write file:///absolute/path, with %3F for ? and %23 for #"
        raise InvalidSetting(message)
    return LocalStorage(Path(path), follow_links_out=follow_links_out)


class LocalStorage:
    """`Storage` in a directory. Symbolic links inside it are followed for reading, and out of it never for writing.

    With `follow_links_out=False`, not for reading either.
    """

    def __init__(self, root: Path, *, follow_links_out: bool = True) -> None:
        self._root = root
        self._follow_links_out = follow_links_out

    def put(
        self,
        source: Path,
        key: str,
        *,
        metadata: Mapping[str, str] | None = None,
        before_visible: Callable[[], None] | None = None,
    ) -> StoredObject:
        """Copied beside its place, onto the disk, then renamed."""
        check_metadata(metadata)
        with source.open("rb") as file, self._arriving(key) as temporary:
            before = os.fstat(file.fileno())
            with _as_storage_errors(key):
                size = copy_file(source, temporary)
                sync_file(temporary)
            after = os.fstat(file.fileno())
            if (size, after.st_size, after.st_mtime_ns) != (before.st_size, before.st_size, before.st_mtime_ns):
                message = f"{source} changed while it was stored as {key}"
                raise StorageError(message)
            if before_visible is not None:
                before_visible()
        return self.stat(key)

    def put_bytes(self, content: bytes, key: str) -> StoredObject:
        """Written beside its place, onto the disk, then renamed."""
        with self._arriving(key) as temporary, _as_storage_errors(key):
            temporary.write_bytes(content)
            sync_file(temporary)
        return self.stat(key)

    def copy(self, key: str, new_key: str) -> StoredObject:
        """Copied by reference where the file system can."""
        source = self._existing(key)
        with self._arriving(new_key) as temporary, _as_storage_errors(key):
            copy_file(source, temporary)
            sync_file(temporary)
        return self.stat(new_key)

    def get(self, key: str, target: Path) -> StoredObject:
        """Copied beside the target, then renamed."""
        source = self._existing(key)
        found = self.stat(key)
        with _as_storage_errors(key):  # the copy's own errors may be the target's
            source.open("rb").close()
        with replacing(target) as temporary:
            size = copy_file(source, temporary)
            if size != found.size:
                message = f"{self.uri(key)} was replaced while it was read: {size} bytes instead of {found.size}"
                raise StorageError(message)
        return found

    def read(self, key: str) -> bytes:
        """The file's content."""
        with _as_storage_errors(key):
            return self._existing(key).read_bytes()

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """In the order of the keys, as S3 has it."""
        with _as_storage_errors(prefix):
            yield from _objects(self._root, "", prefix, ())

    def stat(self, key: str) -> StoredObject:
        """The file's size and time; no metadata."""
        with _as_storage_errors(key):
            found = self._existing(key).stat()
        return StoredObject(key=key, size=found.st_size, modified=found.st_mtime)

    def delete(self, key: str) -> None:
        """The file goes; directories stay, since another writer may be about to use them."""
        path = self._inside(key)
        with contextlib.suppress(ObjectMissing), _as_storage_errors(key):
            self._existing(key)
            path.unlink()
            sync_file(path.parent)

    def uri(self, key: str) -> str:
        """`file:///…`, percent-encoded."""
        return (self._root / check_key(key)).as_uri()

    def file(self, key: str) -> Path:
        """The file itself."""
        return self._existing(key)

    def _existing(self, key: str) -> Path:
        path = self._root / check_key(key)
        with _as_storage_errors(key), contextlib.suppress(FileNotFoundError, NotADirectoryError):
            if stat.S_ISREG(path.stat().st_mode):
                self._check_links(path)
                return path
        message = f"there is no object {self.uri(key)}"
        raise ObjectMissing(message)

    def _check_links(self, path: Path) -> None:
        if not self._follow_links_out and not path.resolve().is_relative_to(self._root.resolve()):
            message = f"{path.as_uri()} leads out of {self._root} by a link: put the file itself there"
            raise StorageRefused(message)

    def _inside(self, key: str) -> Path:
        """Where the object is to be written or removed: never outside the root, whatever links lie on the way."""
        path = self._root / check_key(key)
        root = self._root.resolve()
        if not path.parent.resolve().is_relative_to(root) or _ARRIVING.fullmatch(path.name):
            message = f"{key!r} can't be an object's key here: it leads out of {self._root}, or to a temporary file"
            raise StorageRefused(message)
        return path

    @contextlib.contextmanager
    def _arriving(self, key: str) -> Iterator[Path]:
        """A temporary path that becomes the object when the block ends well, and vanishes when it doesn't."""
        path = self._inside(key)
        temporary = path.with_name(f".{uuid.uuid4().hex}.partial")
        with _as_storage_errors(key):
            _make_directory(path.parent)
        try:
            yield temporary
            with _as_storage_errors(key):
                temporary.replace(path)
                sync_file(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def _make_directory(directory: Path) -> None:
    """Make it and its parents, so that they are still there after a power failure."""
    if directory.is_dir():
        return
    _make_directory(directory.parent)
    directory.mkdir(exist_ok=True)
    sync_file(directory.parent)


_Ancestors = tuple[tuple[int, int], ...]


def _objects(directory: Path, above: str, prefix: str, ancestors: _Ancestors) -> Iterator[StoredObject]:
    try:
        itself = directory.stat()
        entries = list(os.scandir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return
    here = (itself.st_dev, itself.st_ino)
    if here in ancestors:  # a link back up: its objects have been listed already
        return
    # A directory sorts as its objects do: by its name with the separator.
    named = {f"{entry.name}/" if entry.is_dir() else entry.name: entry for entry in entries}
    for name in sorted(named):
        entry = named[name]
        key = above + name
        if name.endswith("/"):
            if key.startswith(prefix) or prefix.startswith(key):
                yield from _objects(directory / entry.name, key, prefix, (*ancestors, here))
        elif key.startswith(prefix) and entry.is_file() and not _ARRIVING.fullmatch(name):
            with contextlib.suppress(FileNotFoundError):  # gone since the directory was read
                found = entry.stat()
                yield StoredObject(key=key, size=found.st_size, modified=found.st_mtime)


@contextlib.contextmanager
def _as_storage_errors(key: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        kind = _kind(error)
        message = f"{key!r}: {error.strerror}"
        raise kind(message) from error


def _kind(error: OSError) -> type[StorageError]:
    if error.errno == errno.ENOENT:
        return ObjectMissing
    return StorageRefused if error.errno in _REFUSED else StorageError

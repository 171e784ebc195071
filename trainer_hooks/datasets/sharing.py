"""Files in a second place, at next to no cost in room: by reference where the file system can, else a hard link each.

A reference is a file of its own, which shares what is on the disk until one of the two is written to. Two links are one
file: a write in place reaches both, and no mode keeps root from it.
"""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path

from trainer_hooks.files import clone_file, copy_file

# The disk has no links, none to another one, not so many of one file, or not of other users' files.
_NO_LINKS = frozenset(
    {errno.EXDEV, errno.EMLINK, errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
)
_log = logging.getLogger(__name__)


class Sharing:
    """Of files of one disk with one. `way` says of which, for the log."""

    def __init__(self, way: str) -> None:
        self._way = way
        self._has_references = self._has_links = True

    def put(self, source: str, target: str, *, may_link: bool) -> None:
        """Make the target of the same content; unless it `may_link`, never by a hard link.

        Raises:
            FileExistsError: if the target is there.
            OSError: as of linking and copying.
        """
        if self._has_references:
            self._has_references = clone_file(Path(source), Path(target))
            if self._has_references:
                return
        if may_link and self._is_linked(source, target):
            return
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
        copy_file(Path(source), Path(target))

    def _is_linked(self, source: str, target: str) -> bool:
        if os.path.islink(source):  # noqa: PTH114 - strings all the way: there may be a million of them
            # A link to the link itself would lead elsewhere from where it lies.
            source = os.path.realpath(source)
        try:
            os.link(source, target)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if self._has_links:
                self._has_links = False
                _log.warning("images are copied and not linked %s: %s", self._way, error.strerror)
            return False
        return True

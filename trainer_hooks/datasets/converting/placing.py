"""The folder that a conversion makes: reserved for one process, built beside its place, there whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import glob
import secrets
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from trainer_hooks.datasets.report import FINDINGS_NAME, REPORT_NAME, Report
from trainer_hooks.errors import DatasetError, InvalidSetting
from trainer_hooks.files import locked

_PATIENCE = 6 * 3600.0
_TRIES = 5
# Bytes of findings: of more, the order is that in which the jobs have come to them.
_SORTED_UP_TO = 64 << 20


class _Made(msgspec.Struct):
    """What stands in the folder beside the report: of what it was made, what a trainer is given, and what is in it."""

    fingerprint: str
    result: str
    names: list[str]


_MADE_NAME = ".conversion.json"
# Ultralytics and others leave such files, and make them anew.
_CACHES = ".cache"
_SHOWN = 3
_READ_ONLY = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


class Place:
    """A folder to be made. All of its parents are made with it."""

    def __init__(self, folder: Path) -> None:
        # The data.yaml names it, and is read from anywhere.
        self.folder = folder.expanduser().resolve()
        self._is_alone = False

    def refuse_around(self, dataset: Path) -> None:
        """Refuse to be where the dataset is: over it, or in what is read of it the next time.

        Raises:
            InvalidSetting: naming both.
        """
        is_folder = dataset.is_dir()
        base = dataset if is_folder else dataset.parent
        if base.is_relative_to(self.folder):
            wrong = f"{self.folder} holds the dataset"
        elif is_folder and self.folder.is_relative_to(base) and not _is_hidden(self.folder.relative_to(base)):
            wrong = f"{self.folder} lies in the dataset {base}, which would be read with it the next time"
        else:
            return
        message = f"{wrong}: name a folder outside of the dataset, as `to`"
        raise InvalidSetting(message)

    @contextlib.contextmanager
    def reserved(self) -> Iterator[None]:
        """Alone with it: other processes that would make the same folder wait, and then find it made.

        Raises:
            DatasetError: if another process takes hours.
            InvalidSetting: if nothing can be written there.
        """
        with contextlib.ExitStack() as held:
            try:
                self.folder.parent.mkdir(parents=True, exist_ok=True)
                self._is_alone = held.enter_context(locked(self._beside("lock"), _PATIENCE))
            except TimeoutError as error:
                message = f"another process has been making {self.folder} for hours: end it, or name another folder"
                raise DatasetError(message) from error
            except OSError as error:
                if error.errno not in _READ_ONLY:
                    raise
                message = f"{self.folder} can't be made: {error}; name another folder, as `to`"
                raise InvalidSetting(message) from error
            if self._is_alone:  # else another process may be building in what looks left over
                self._remove_leftovers()
            yield

    def holds(self, fingerprint: str) -> bool:
        """Whether the folder is there, made of the same, and a trainer finds what it is given."""
        made = self._made()
        return made is not None and made.fingerprint == fingerprint and (self.folder / made.result).exists()

    def result(self) -> str:
        """What a trainer is given."""
        made = self._made()
        return str(self.folder / made.result) if made is not None else str(self.folder)

    @contextlib.contextmanager
    def staging(self) -> Iterator[Path]:
        """A folder to build in, which `keep` puts in place; it goes when the block ends before.

        Raises:
            DatasetError: if something is in that place that no conversion has made.
        """
        self._check()
        staging = self._beside(f"{secrets.token_hex(8)}.partial")
        (staging / ".pieces").mkdir(parents=True)
        try:
            yield staging
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def keep(self, staging: Path, report: Report, fingerprint: str, result: str) -> None:
        """Put what was built in its place, with its report; what a conversion has put there before goes.

        Raises:
            DatasetError: as `staging`, which may have been hours ago.
        """
        pieces = staging / ".pieces"
        findings = sorted(pieces.glob(f"*-{FINDINGS_NAME}"))
        if sum(piece.stat().st_size for piece in findings) <= _SORTED_UP_TO:
            lines = _sorted_lines(findings)
            report.list_first(lines)
            _put_together(staging / FINDINGS_NAME, lines)
        else:
            _put_together(staging / FINDINGS_NAME, _lines(findings))
        shutil.rmtree(pieces)
        (staging / REPORT_NAME).write_bytes(msgspec.json.format(msgspec.json.encode(report, order="deterministic")))
        names = sorted(path.name for path in staging.iterdir())
        (staging / _MADE_NAME).write_bytes(msgspec.json.encode(_Made(fingerprint, result, names)))
        self._check()
        before = self._beside(f"{secrets.token_hex(8)}.partial")
        if self.folder.exists():
            self.folder.rename(before)
        staging.rename(self.folder)
        shutil.rmtree(before, ignore_errors=True)

    def _made(self) -> _Made | None:
        try:
            return msgspec.json.decode((self.folder / _MADE_NAME).read_bytes(), type=_Made)
        except (OSError, msgspec.MsgspecError):
            return None

    def _check(self) -> None:
        made = self._made()
        if not self.folder.exists():
            return
        if made is None and (not self.folder.is_dir() or any(self.folder.iterdir())):
            message = f"{self.folder} is there already, and no conversion has made it: move it away, or name another"
            raise DatasetError(message)
        own = {_MADE_NAME, *(made.names if made else ())}
        others = sorted(path.name for path in self.folder.iterdir() if path.name not in own and path.suffix != _CACHES)
        if others:
            shown = ", ".join(others[:_SHOWN]) + (", …" if len(others) > _SHOWN else "")
            message = (
                f"{self.folder} is to be made anew, and no conversion has made {shown} in it: move that away, or name "
                "another folder"
            )
            raise DatasetError(message)

    def _remove_leftovers(self) -> None:
        # All of the number: `.a.*` would take those of `a.b`, too.
        for leftover in self.folder.parent.glob(f".{glob.escape(self.folder.name)}.{'[0-9a-f]' * 16}.partial"):
            # A killed conversion's workers live a moment longer: under another name, none of them finds it.
            with contextlib.suppress(OSError):
                leftover = leftover.rename(self._beside(f"{secrets.token_hex(8)}.partial"))  # noqa: PLW2901
            _remove(leftover)

    def _beside(self, suffix: str) -> Path:
        return self.folder.with_name(f".{self.folder.name}.{suffix}")


def _is_hidden(path: Path) -> bool:
    """Whether those who read datasets pass it over."""
    return any(part.startswith(".") for part in path.parts)


def _remove(folder: Path) -> None:
    """Also where a call that was under way in another process, one in each, puts one more file into it."""
    for _ in range(_TRIES):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return


def _sorted_lines(pieces: Iterable[Path]) -> list[bytes]:
    """The same however the work was cut into jobs."""
    return sorted(_lines(pieces))


def _lines(pieces: Iterable[Path]) -> Iterator[bytes]:
    for piece in pieces:
        with piece.open("rb") as file:
            yield from file


def _put_together(target: Path, lines: Iterable[bytes]) -> None:
    with target.open("wb") as file:
        file.writelines(lines)
    if not target.stat().st_size:
        target.unlink()

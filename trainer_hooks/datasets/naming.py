"""Names of images: none leads out of its folder, and no two of them mean the same file or the same label."""

from __future__ import annotations

import re
import unicodedata

from trainer_hooks.errors import DatasetError

LONGEST_PART = 255
"""Of a path on common file systems, in bytes."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_HIDDEN = re.compile(r"(?<![^/])\.")
_DRIVE = re.compile(r"[A-Za-z]:")
# Most names need no second look.
_PLAIN = re.compile(r"(?:\w[\w. -]{0,60}/){0,8}\w[\w. -]{0,60}", re.ASCII)


def safe_name(name: str, where: str) -> str:
    """The name with `/` between its parts, if it stays below its folder on every file system.

    Raises:
        DatasetError: naming it, `where` it stands, and what is wrong with it.
    """
    if _PLAIN.fullmatch(name):
        return name
    parts = name.replace("\\", "/").split("/")
    wrong = _fault(name, parts)
    if wrong:
        message = f"{where}: {name[:200]!r} can't be the name of a file: {wrong}"
        raise DatasetError(message)
    return "/".join(part for part in parts if part != ".")


def check_path(path: str, where: str) -> str:
    """The path itself, if the file of that object of a store can have it below a dataset's folder.

    Raises:
        DatasetError: as `safe_name`; also where it would be another name than the object's.
    """
    if safe_name(path, where) != path:
        message = f"{where}: {path[:200]!r} can't be the name of a file: it has a backslash, or a part that is a dot"
        raise DatasetError(message)
    return path


def _fault(name: str, parts: list[str]) -> str | None:
    faults = {
        "it is empty": not parts[-1] or parts[-1] == ".",
        "it is absolute": not parts[0] or _DRIVE.match(name),
        "it leads out of its folder": ".." in parts,
        "it has a control character or half a surrogate pair": _CONTROL.search(name),
        "it has an empty part": "" in parts[1:],
        f"a part of it is over {LONGEST_PART} bytes": any(
            len(part.encode(errors="surrogatepass")) > LONGEST_PART for part in parts
        ),
    }
    return next((fault for fault, found in faults.items() if found), None)


def _shortened(stem: str, addition: int) -> str:
    """The stem with room for so many bytes more in its last part."""
    folder, slash, last = stem.rpartition("/")
    kept = last.encode()[: max(LONGEST_PART - addition, 0)].decode(errors="ignore")
    return f"{folder}{slash}{kept}"


class Names:
    """Gives out names of images, so that no two have the same stem in the same folder, on any file system.

    Labels are found by the stem; some file systems tell neither capitals nor forms of accents apart.
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, name: str) -> str:
        """The name itself, or where it is taken, one with the suffix (and a number) in its stem.

        What is hidden, of which trainers read nothing, is hidden no longer.
        """
        name = _HIDDEN.sub("_", name)
        stem, dot, suffix = name.rpartition(".")
        tried, number = stem, 1
        while not self._is_free(tried):
            addition = f"-{suffix}" + (f"-{number}" if number > 1 else "")
            tried = _shortened(stem, len(f"{addition}{dot}{suffix}".encode())) + addition
            number += 1
        return name if tried == stem else tried + dot + suffix

    def _is_free(self, stem: str) -> bool:
        key = stem.lower() if stem.isascii() else unicodedata.normalize("NFC", stem).casefold()
        if key in self._taken:
            return False
        self._taken.add(key)
        return True

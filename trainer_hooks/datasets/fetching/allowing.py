"""What may be fetched beside a dataset's own prefix: TRAINER_HOOKS_DATASET_ALLOW, and files of this machine."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

from trainer_hooks.errors import DatasetError
from trainer_hooks.settings import Settings

_FILE = "file://"


class Allowed:
    """What the settings allow. Who writes a list of addresses needn't be who may read this machine's files."""

    def __init__(self, settings: Settings) -> None:
        self._told = settings.dataset_allow
        self._files = (settings.dataset_storage_uri or "").lower().startswith(_FILE)
        beginnings = (self._told or "").split(",")
        self._beginnings = tuple(_plain(one.strip().rstrip("/")) + "/" for one in beginnings if one.strip())

    def check(self, address: str) -> None:
        """Raise DatasetError if that may not be fetched; the address isn't percent-encoded where it is a file's."""
        if self._told is not None:
            if not all(one.startswith(self._beginnings) for one in (address, _led_to(address))):
                message = f"{address} may not be fetched: TRAINER_HOOKS_DATASET_ALLOW allows what lies in {self._told}"
                raise DatasetError(message)
        elif address.startswith(_FILE) and not self._files:
            message = (
                f"{address} may not be fetched: it is a file of this machine, and datasets come from elsewhere; "
                "name its folder in TRAINER_HOOKS_DATASET_ALLOW"
            )
            raise DatasetError(message)


def _plain(address: str) -> str:
    """The address as ours are written: scheme in small letters, and nothing percent-encoded in that of a file."""
    scheme, separator, rest = address.partition("://")
    scheme = scheme.lower()
    if scheme == "file":
        rest = unquote(rest).removeprefix("localhost")
    return scheme + separator + rest


def _led_to(address: str) -> str:
    """Where links lead to from there."""
    if not address.startswith(_FILE):
        return address
    return _FILE + str(Path(address.removeprefix(_FILE)).resolve())

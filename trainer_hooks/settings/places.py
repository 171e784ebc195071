"""Addresses and paths, as settings name them; and how an address is shown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from trainer_hooks.errors import InvalidSetting

HTTP_ADDRESSES = {
    "callback_url": "https://host/api/v1",
    "synapse_host": "https://host",
    "backend": "https://host/api/v1, or name a directory",
    "serve_url": "https://host or https://host/prefix",
}
"""Settings that are addresses for HTTP, and how each is written."""
_USERINFO = re.compile(r"(?<=://)[^/?#]*@")
_HTTP_ADDRESS = re.compile(r"https?://[^/\s:@]([^/\s]*[^/\s:])?(/\S*)?$", re.IGNORECASE)
_LIKE_AN_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*:/", re.IGNORECASE)


def without_userinfo(value: Any) -> Any:
    """A URL without the `user:password@` that it may carry; anything else as it is."""
    return _USERINFO.sub("", value) if isinstance(value, str) else value


def password_in(address: str | None) -> str | None:
    """The password that an address carries; None or an empty text where it carries none."""
    userinfo = _USERINFO.search(address or "")
    return userinfo[0][:-1].partition(":")[2] if userinfo else None


def check_http_address(name: str, address: str | None, source: str | None) -> None:
    """Raise InvalidSetting if that setting's address is none that HTTP can reach."""
    is_directory = name == "backend" and address is not None and not _LIKE_AN_ADDRESS.match(address)
    has_more = name == "serve_url" and address and not set("?#@").isdisjoint(address)
    if address is not None and not is_directory and (has_more or not _is_http_address(address)):
        shown, form = without_userinfo(address), HTTP_ADDRESSES[name]
        message = f"{name} ({source}) is {shown!r}; write the backend's address as {form}"
        raise InvalidSetting(message)


def _is_http_address(text: str) -> bool:
    """Whether it is one that HTTP can reach: the port a number that there is, the brackets those of an IPv6 address."""
    try:
        port = urlsplit(text).port
    except ValueError:
        return False
    return _HTTP_ADDRESS.match(text) is not None and port != 0


def absolute(path: str) -> str:
    """The path from the root on; as it is given where there is no such home, or no working directory any more."""
    try:
        return str(Path(path).expanduser().absolute())
    except (OSError, RuntimeError):
        return path

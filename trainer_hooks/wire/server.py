"""A server that records are told to: where it is, what it is sent to be let in, and which settings say so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Server:
    """`credentials` are headers, each a scheme and a secret: "Bearer 1234".

    They are asked for when the first request is made, and again after the server has refused them; InvalidSetting from
    there makes the request wait. The last two name the settings in messages.
    """

    url: str
    credentials: Callable[[], Mapping[str, str]]
    address_setting: str
    credentials_settings: str

"""Images as Synapse takes them: as texts within the request."""

from __future__ import annotations

import base64
import mimetypes
from pathlib import Path

from trainer_hooks.errors import Rejected

# As a text it is a third larger, and Django by its default takes requests of 2.5 MB.
_LARGEST = 1_800_000


def data_uri(image: Path) -> str:
    """The image's content and its type.

    Raises:
        Rejected: if it is gone, too large, or of no known type.
    """
    kind, _ = mimetypes.guess_type(image.name)
    if kind is None:
        message = f"{image.name!r} has no ending that tells its type"
        raise Rejected(message)
    try:
        with image.open("rb") as file:
            content = file.read(_LARGEST + 1)
    except FileNotFoundError as error:
        message = f"its private copy {image.name!r} is gone"
        raise Rejected(message) from error
    if len(content) > _LARGEST:
        message = f"{image.name!r} has more than {_LARGEST} bytes, the most that is sent to Synapse"
        raise Rejected(message)
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"

"""YAML files of datasets: read with the file's name in what goes wrong, and written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainer_hooks import yaml_texts
from trainer_hooks.datasets.formats._layout import content_of
from trainer_hooks.errors import DatasetError

_EXTRA = "datasets"


def content_of_yaml(path: Path, shown: str) -> Any:
    """What the file holds.

    Raises:
        DatasetError: if it can't be read, or is no YAML.
        MissingPackage: as `yaml_of`.
    """
    try:
        return yaml_texts.parsed(content_of(str(path)), _EXTRA)
    except (OSError, ValueError) as error:
        message = f"{shown} can't be read: {error}"
        raise DatasetError(message) from error


def yaml_of(content: dict[str, Any]) -> str:
    """The content of a file, in the order that it is given in.

    Raises:
        MissingPackage: if PyYAML isn't installed.
    """
    return yaml_texts.written(content, _EXTRA)

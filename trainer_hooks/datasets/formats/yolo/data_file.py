"""The `data.yaml`: what is read of it. Whatever else stands there, such as `download`, stays where it is."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from trainer_hooks.datasets.formats.yolo.yaml_files import content_of_yaml
from trainer_hooks.datasets.model import SplitName
from trainer_hooks.errors import DatasetError

# Of classes or keypoints; what is asked to be made is not without an end.
_Count = Annotated[int, msgspec.Meta(ge=0, le=100_000)]


class DataFile(msgspec.Struct):
    """What is read of a `data.yaml`."""

    train: str | list[str] | None = None
    val: str | list[str] | None = None
    validation: str | list[str] | None = None
    test: str | list[str] | None = None
    path: str | None = None
    names: list[Any] | dict[Any, Any] | None = None
    nc: _Count | None = None
    kpt_shape: tuple[_Count, Literal[2, 3]] | None = None
    kpt_names: list[list[str]] | dict[int, list[str]] | None = None
    flip_idx: list[_Count] | None = None

    def paths_of(self, split: SplitName) -> list[str]:
        """What it says of that split."""
        given = {"train": self.train, "val": self.val or self.validation, "test": self.test}[split]
        return [given] if isinstance(given, str) else given or []

    def class_names(self, shown: str) -> list[str]:
        """The names by number.

        Raises:
            DatasetError: if there are none, or numbers are left out.
        """
        if any(isinstance(name, (list, dict)) for name in _values(self.names)):
            message = f"{shown}: a class has a list for its name"
            raise DatasetError(message)
        if self.names is None:
            if self.nc is None:
                message = f"{shown} has neither names nor nc: write the classes' names there"
                raise DatasetError(message)
            return [f"class_{number}" for number in range(self.nc)]
        if isinstance(self.names, list):
            return [str(name) for name in self.names]
        named: dict[str, str] = {str(number): str(name) for number, name in self.names.items()}
        numbers = [str(number) for number in range(len(named))]
        if set(numbers) != set(named):
            message = f"{shown}: the keys of names must be the numbers from 0 on, they are {', '.join(sorted(named))}"
            raise DatasetError(message)
        return [named[number] for number in numbers]

    def keypoint_names(self, label: int) -> tuple[str, ...]:
        """What the keypoints of that class are called: numbers, where it doesn't say."""
        count = self.kpt_shape[0] if self.kpt_shape else 0
        given = self.kpt_names or {}
        names = (given if isinstance(given, dict) else dict(enumerate(given))).get(label, [])
        return tuple(map(str, names if len(names) == count else range(count)))

    def mirror(self) -> list[int] | None:
        """Its `flip_idx`, if it names each of the keypoints once."""
        count = self.kpt_shape[0] if self.kpt_shape else 0
        return self.flip_idx if sorted(self.flip_idx or ()) == list(range(count)) else None


def _values(names: list[Any] | dict[Any, Any] | None) -> Iterable[Any]:
    return names.values() if isinstance(names, dict) else names or ()


def read_data_file(file: Path, shown: str) -> DataFile:
    """The file.

    Raises:
        DatasetError: if it is none.
    """
    try:
        return msgspec.convert(content_of_yaml(file, shown), DataFile, strict=False)
    except msgspec.ValidationError as error:
        message = f"{shown} is no data.yaml: {error}"
        raise DatasetError(message) from error

"""What predecessor B's Trainer SDK does with datasets, by its names, over `trainer_hooks.datasets`.

Unlike reports, these calls raise: a dataset that can't be used is the trainer's to know.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from trainer_hooks import datasets
from trainer_hooks.datasets.converting.dividing import Division
from trainer_hooks.datasets.model import Entry, task_named
from trainer_hooks.datasets.report import Report, Reporter
from trainer_hooks.datasets.splitting import Split, split_of_job
from trainer_hooks.errors import DatasetError
from trainer_hooks.files import write_whole
from trainer_hooks.settings import Settings
from trainer_hooks.trainer_sdk.folders import CONVERTED, converting, own_annotations, put_outcome
from trainer_hooks.trainer_sdk.placing import place

# The bucket that B's SDK takes where only the server's address is given, as its launcher does.
_DEFAULT_BUCKET = "training-datasets"
_FORMATS = {"imagefolder": "folders"}


class UnusableList(DatasetError, ValueError):
    """A list of annotations that can't be fetched; B raised ValueError for it."""


class DatasetCalls(ABC):
    """The calls about datasets, of a job of that task with these settings."""

    _settings: Settings

    @property
    @abstractmethod
    def task_type(self) -> str:
        """TASK_TYPE."""

    def download_dataset(self, dataset_id: str, dest_dir: str) -> str:
        """Have all of a dataset's files in that folder; returns it.

        Raises:
            DatasetError: if there is none, or it isn't whole.
            StorageError, InvalidSetting, MissingPackage, OSError: as `datasets.fetch`.
        """
        return place(datasets.fetch(dataset_id, whole=True, settings=self._for_datasets()), Path(dest_dir))

    def download_dataset_selective(self, dataset_id: str, dest_dir: str) -> str:
        """Have the annotation file of the job's task, and the images it names, in that folder; returns it.

        Raises:
            As `download_dataset`.
        """
        found = datasets.fetch(dataset_id, task=self.task_type, settings=self._for_datasets())
        return place(found, Path(dest_dir))

    def download_dataset_with_cache(
        self, snapshot_id: str, dataset_id: str, dataset_version_hash: str, dest_dir: str
    ) -> str:
        """As `download_dataset_selective`, into `dest_dir/dataset`, which it returns; the hash is compared.

        Raises:
            As `download_dataset`.
        """
        found = datasets.fetch(
            dataset_id,
            snapshot_id=snapshot_id or None,
            version_hash=dataset_version_hash or None,
            task=self.task_type,
            settings=self._for_datasets(),
        )
        return place(found, Path(dest_dir) / "dataset", alone=True)

    def download_dataset_from_annotation(
        self, annotation_data: Mapping[str, Any], dest_dir: str, format_type: str = "labelme"
    ) -> str:
        """Have the images and labels that `annotation_data["data_summary"]` lists in that folder; returns it.

        Raises:
            ValueError: if the list is none or is empty, or the format is none.
            As `download_dataset`.
        """
        if not annotation_data.get("data_summary"):
            raise UnusableList("the list of annotations is empty: its data_summary names no image")
        if format_type not in ("labelme", "coco"):
            message = f"{format_type!r} is no format of such a list (known: coco, labelme)"
            raise UnusableList(message)
        found = datasets.fetch_annotation(annotation_data, format=format_type, settings=self._for_datasets())
        return place(found, Path(dest_dir))

    def convert_dataset(
        self,
        dataset_dir: str,
        source_format: str,
        target_format: str,
        split_config: Mapping[str, Any] | None = None,
        task_type: str | None = None,
    ) -> str:
        """Convert the dataset in that folder, for the trainer to find it there; returns the folder.

        Raises:
            InvalidSetting: for a format, task or split that is none.
            DatasetError: if the dataset can't be used.
            MissingPackage, OSError: as `datasets.convert`.
        """
        folder, task = Path(dataset_dir), task_named(task_type or self.task_type)
        source, target = _format(source_format), _format(target_format)
        made = folder / CONVERTED / f"{target}-{task}"
        with converting(folder):
            datasets.convert(
                own_annotations(folder, task, keep=target == "coco") if source == "dice" else folder,
                source=source,
                target=target,
                task=task,
                to=made,
                split=split_of_job(split_config) if split_config else None,
            )
            put_outcome(made, target, task, folder)
        return dataset_dir

    def split_dataset(
        self,
        images: Sequence[Mapping[str, Any]],
        train_ratio: float = 0.8,
        val_ratio: float = 0.2,
        test_ratio: float = 0.0,
        seed: int = 42,
        stratify_by: str | None = None,
    ) -> dict[Any, str]:
        """The split of each image, by its id; as `convert_dataset` splits images of which nothing is said.

        Raises:
            InvalidSetting: for ratios that are none.
        """
        ratios = (train_ratio, val_ratio, test_ratio) if test_ratio else (train_ratio, val_ratio)
        entries = [Entry(str(image.get("file_name") or image["id"]), str(at)) for at, image in enumerate(images)]
        division = Division(Split(ratios=ratios, seed=seed, stratify=bool(stratify_by)), None, _nobody())
        found = division.of(entries, _classes_on(images))
        return {image["id"]: split for image, split in zip(images, found, strict=True)}

    def create_data_yaml(
        self,
        dataset_dir: str,
        class_names: Sequence[str],
        train_path: str = "train.txt",
        val_path: str = "val.txt",
        test_path: str | None = None,
    ) -> str:
        """Write a `data.yaml` for Ultralytics in that folder; returns its path."""
        from trainer_hooks.datasets.formats.yolo import yaml_of

        content = {"path": str(Path(dataset_dir).resolve()), "train": train_path, "val": val_path}
        content |= {"test": test_path} if test_path else {}
        file = Path(dataset_dir) / "data.yaml"
        write_whole(file, yaml_of({**content, "nc": len(class_names), "names": list(class_names)}).encode())
        return str(file)

    def validate_dataset(
        self, dataset_dir: str, expected_format: str, min_images: int = 1, check_labels: bool = True
    ) -> dict[str, Any]:
        """Whether the dataset can be trained on: `valid`, the `issues` in words, and `stats` of images and classes.

        `total_labels` are the images with an object on them. Without `check_labels`, only missing images are an issue.
        """
        format_name, task = _format(expected_format), task_named(self.task_type)
        made = Path(dataset_dir) / CONVERTED / f"{format_name}-{task}"
        report, issues = Report(source=format_name, target="", task=task), []
        try:
            report = datasets.validate(made if made.is_dir() else dataset_dir, source=format_name, task=task)
        except DatasetError as error:
            issues.append(str(error))
        looked_at = ("missing",) if not check_labels else [one for one in report.counts if one != "told"]
        for action in looked_at:
            issues += [f"{count} {action}: {reason}" for reason, count in report.counts.get(action, {}).items()]
        images = sum(report.images.values())
        if images < min_images:
            issues.append(f"only {images} images can be used (at least {min_images} are asked for)")
        return {"valid": not issues, "issues": issues, "stats": _stats(report, images)}

    def clean_dataset_cache(self, dataset_dir: str) -> int:
        """Remove Ultralytics' `*.cache` files below that folder; returns how many there were."""
        found = [file for file in Path(dataset_dir).rglob("*.cache") if file.is_file()]
        for file in found:
            file.unlink(missing_ok=True)
        return len(found)

    def _for_datasets(self) -> Settings:
        if self._settings.dataset_storage_uri is None and self._settings.dataset_endpoint:
            return msgspec.structs.replace(self._settings, dataset_bucket=_DEFAULT_BUCKET)
        return self._settings


def _format(name: str) -> str:
    return _FORMATS.get(name, name)


def _classes_on(images: Sequence[Mapping[str, Any]]) -> list[tuple[int, ...]]:
    """Of each image that has its annotations with it, their classes, numbered as they come."""
    numbers: dict[Any, int] = {}
    found = []
    for image in images:
        labels = (one.get("class_id", one.get("category_id")) for one in image.get("annotations") or ())
        found.append(tuple({numbers.setdefault(label, len(numbers)) for label in labels if label is not None}))
    return found


def _nobody() -> Reporter:
    return Reporter(Report(source="", target="", task=""))


def _stats(report: Report, images: int) -> dict[str, Any]:
    by_class: dict[str, int] = {}
    for objects in report.objects.values():
        for name, count in objects.items():
            by_class[name] = by_class.get(name, 0) + count
    return {
        "total_images": images,
        "total_labels": images - sum(report.backgrounds.values()),
        "classes": report.classes,
        "class_distribution": by_class,
    }

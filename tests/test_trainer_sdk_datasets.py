"""Predecessor B's calls for datasets: what its trainers find where they look, and that nothing wrong goes untold."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from tests.disks import small_disk
from trainer_hooks.errors import DatasetError, InvalidSetting
from trainer_hooks.settings import Settings
from trainer_hooks.trainer_sdk import TrainerSDK
from trainer_hooks.trainer_sdk.datasets import DatasetCalls
from trainer_hooks.trainer_sdk.folders import CONVERTED

WIDTH, HEIGHT = 200, 100


class Calls(DatasetCalls):
    """Them alone, without a run."""

    def __init__(self, settings: Settings, task_type: str = "detection") -> None:
        self._settings = settings
        self._task_type = task_type

    @property
    def task_type(self) -> str:
        return self._task_type


def make_dice(root: Path, names: list[str], **more: Any) -> Path:
    """A dataset of the platform's in that folder: a scratch on each image but the first, which has nothing on it."""
    images = []
    for number, name in enumerate(names, 1):
        file = root / "images" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT), (number, 0, 0)).save(file)
        annotation = {"id": number, "class_id": 4, "bbox": [20, 10, 60, 40]} if number > 1 else {"class_id": 0}
        image = {"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT, "annotations": [annotation]}
        images.append(image)
    classes = [{"id": 0, "name": "__background__"}, {"id": 4, "name": "scratch"}, {"id": 9, "name": "dent"}]
    content = {"format_version": "1.0", "classes": classes, "images": images, **more}
    (root / "annotations_detection.json").write_text(json.dumps(content))
    return root


NAMES = [f"line{number % 2}/p{number}.png" for number in range(1, 11)]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    make_dice(folder / "datasets" / "ds_1", NAMES)
    return folder


@pytest.fixture
def calls(store: Path, tmp_path: Path) -> Calls:
    return Calls(Settings.load(environ={}, dataset_storage=store.as_uri(), dataset_cache=str(tmp_path / "cache")))


@pytest.fixture
def job(tmp_path: Path) -> str:
    return str(tmp_path / "training" / "7" / "dataset")


def files_below(folder: str | Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file())


OF_DS_1 = [".fetched", ".fetched.lock", "annotations_detection.json", *sorted(f"images/{name}" for name in NAMES)]


def test_the_sdk_has_them_and_its_task_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    given = {"JOB_ID": "7", "TRAINER_HOOKS_MODE": "disabled", "TASK_TYPE": "pose_estimation"}
    for variable, value in given.items():
        monkeypatch.setenv(variable, value)
    with TrainerSDK() as sdk:
        assert isinstance(sdk, DatasetCalls)
        with pytest.raises(DatasetError, match=r"annotations_pose\.json"):
            sdk.convert_dataset(str(make_dice(tmp_path / "ds", NAMES)), "dice", "yolo")


@pytest.mark.parametrize("method", ["download_dataset", "download_dataset_selective"])
def test_a_download_is_in_the_folder_that_was_named_for_it(calls: Calls, job: str, method: str):
    assert getattr(calls, method)("ds_1", job) == job
    assert files_below(job) == OF_DS_1


def test_a_download_into_a_folder_that_is_there_leaves_what_has_other_names(calls: Calls, job: str):
    """B's trainers make the folder first; a job that starts again has it from before; and it may be a user's own."""
    mine = [Path(job) / name for name in ("images/mine.png", "images/line1/mine.png", "notes.txt")]
    for file in mine:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("mine")
    half = Path(job) / "images" / NAMES[0]
    half.write_bytes(b"half")
    calls.download_dataset("ds_1", job)
    assert files_below(job) == sorted([*OF_DS_1, *(str(file.relative_to(job)) for file in mine)])
    assert half.read_bytes() != b"half"
    assert calls.download_dataset("ds_1", job) == job
    assert [file.read_text() for file in mine] == ["mine"] * 3


def test_what_has_changed_in_the_storage_is_downloaded_again(calls: Calls, store: Path, job: str):
    calls.download_dataset("ds_1", job)
    (Path(job) / "images" / "mine.png").touch()
    shutil.rmtree(Path(job) / "images/line0")
    (Path(job) / "images/line0").touch()
    folder = store / "datasets" / "ds_1"
    shutil.rmtree(folder)
    make_dice(folder, [name for name in NAMES if name.startswith("line1")] + ["late.png"])
    calls.download_dataset("ds_1", job)
    of_line_0 = [f"images/{name}" for name in NAMES if name.startswith("line0")]
    expected = {*OF_DS_1, "images/late.png", "images/mine.png", "images/line0"} - set(of_line_0)
    assert files_below(job) == sorted(expected)


def test_of_the_dataset_before_no_empty_folder_stays(calls: Calls, store: Path, job: str):
    make_dice(store / "datasets" / "ds_2", ["deep/er/1.png"])
    calls.download_dataset("ds_2", job)
    calls.download_dataset("ds_1", job)
    assert files_below(job) == OF_DS_1
    assert not (Path(job) / "images/deep").exists()


def test_a_file_that_is_gone_is_put_there_again(calls: Calls, job: str):
    """A script that cleans up between two attempts leaves the marker behind."""
    calls.download_dataset("ds_1", job)
    shutil.rmtree(Path(job) / "images/line1")
    (Path(job) / "notes.txt").touch()
    calls.download_dataset("ds_1", job)
    assert files_below(job) == sorted([*OF_DS_1, "notes.txt"])


def test_a_job_that_was_killed_meanwhile_is_taken_up_and_leaves_nothing(calls: Calls, job: str):
    calls.download_dataset("ds_1", job)
    marker = Path(job) / ".fetched"
    marker.write_text("\n" + marker.read_text().partition("\n")[2] + "\nimages/half.png")
    (Path(job) / "images/half.png").touch()
    left = Path(job) / f"..fetched.{'a' * 16}"
    left.mkdir()
    os.utime(left, (0, 0))
    calls.download_dataset("ds_1", job)
    assert files_below(job) == OF_DS_1
    assert not left.exists()


def test_nothing_behind_a_link_is_written_to_or_removed(calls: Calls, store: Path, job: str, tmp_path: Path):
    """`images` is one into the cache of B's SDK, where that has been there before."""
    theirs = tmp_path / "of-b" / NAMES[0]
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"theirs")
    Path(job).mkdir(parents=True)
    for _ in range(2):
        shutil.rmtree(Path(job) / "images", ignore_errors=True)
        (Path(job) / "images").symlink_to(tmp_path / "of-b")
        calls.download_dataset("ds_1", job)
        assert files_below(job) == OF_DS_1
        (store / "datasets" / "ds_1" / "images" / NAMES[0]).touch()  # another version
    assert theirs.read_bytes() == b"theirs"


def test_a_folder_in_the_place_of_a_file_is_named(calls: Calls, job: str):
    folder = Path(job) / "images" / NAMES[0]
    folder.mkdir(parents=True)
    with pytest.raises(DatasetError, match=str(folder)):
        calls.download_dataset("ds_1", job)


@pytest.mark.parametrize("method", ["download_dataset", "download_dataset_with_cache"])
def test_the_folder_may_be_a_mount_point_a_link_to_one_or_the_current_one(
    calls: Calls, tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
):
    def download(there: Path | str) -> list[str]:
        if method == "download_dataset":
            return files_below(calls.download_dataset("ds_1", str(there)))
        return files_below(calls.download_dataset_with_cache("snap_1", "ds_1", "", str(there)))

    with small_disk(tmp_path / "disk") as disk:
        assert download(disk.path) == OF_DS_1
        (tmp_path / "link").symlink_to(disk.path)
        assert download(tmp_path / "link") == OF_DS_1
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert download(".") == OF_DS_1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "disk", "here", "link", "store"]


def test_a_download_with_the_cache_is_below_the_folder_and_alone_there(calls: Calls, store: Path, job: str):
    (Path(job) / "left").mkdir(parents=True)
    version = hashlib.sha256((store / "datasets/ds_1/annotations_detection.json").read_bytes()).hexdigest()
    there = calls.download_dataset_with_cache("snap_1", "ds_1", version, str(Path(job).parent))
    assert there == job
    assert files_below(job) == OF_DS_1
    assert not (Path(job) / "left").exists()
    assert not (Path(job) / "images").is_symlink()
    with pytest.raises(DatasetError, match=version):
        calls.download_dataset_with_cache("snap_1", "ds_1", "0" * 64, job)


def test_the_ranks_of_a_job_have_one_folder_together(calls: Calls, job: str):
    Path(job).mkdir(parents=True)
    (Path(job) / "of-another-dataset").touch()

    def rank() -> None:
        calls.download_dataset_with_cache("snap_1", "ds_1", "", str(Path(job).parent))
        assert files_below(job) == OF_DS_1

    together([rank] * 4)


def together(ranks: list[Callable[[], object]]) -> None:
    """All of them at once; none may fail."""
    with ThreadPoolExecutor(len(ranks)) as pool:
        for done in [pool.submit(rank) for rank in ranks]:
            done.result(timeout=30)


def test_no_dataset_is_an_error_and_not_an_empty_folder(calls: Calls, job: str):
    with pytest.raises(DatasetError, match="ds_2"):
        calls.download_dataset("ds_2", job)
    assert not Path(job).exists()


def test_a_list_of_annotations_is_downloaded_without_one_image_over_another(calls: Calls, store: Path, job: str):
    summary = []
    for folder, colour in (("x", 1), ("y", 2)):
        image = store / folder / "1.png"
        image.parent.mkdir()
        Image.new("RGB", (20, 20), (colour, 0, 0)).save(image)
        label = image.with_suffix(".json")
        label.write_text(json.dumps({"shapes": [], "imagePath": "1.png"}))
        summary.append({"img_path": image.as_uri(), "label_path": label.as_uri()})
    assert calls.download_dataset_from_annotation({"data_summary": summary}, job) == job
    assert Counter(Path(file).suffix for file in files_below(job)) == {".png": 2, ".json": 2, "": 1, ".lock": 1}


@pytest.mark.parametrize(
    ("data", "kind"), [({}, "labelme"), ({"data_summary": []}, "labelme"), ({"data_summary": [{}]}, "pascal")]
)
def test_a_list_that_can_not_be_fetched_is_a_value_error_as_it_was(calls: Calls, job: str, data: Any, kind: str):
    with pytest.raises(ValueError) as caught:
        calls.download_dataset_from_annotation(data, job, kind)
    assert isinstance(caught.value, DatasetError)


def test_without_a_bucket_the_one_of_the_predecessor_is_meant():
    found = Calls(Settings.load(environ={"EXTERNAL_STORAGE_ENDPOINT": "http://localhost:9000"}))._for_datasets()
    assert found.dataset_storage_uri == "s3://training-datasets"
    assert Calls(Settings.load(environ={}))._for_datasets().dataset_storage_uri is None


def labels(data_yaml: Path) -> dict[str, list[str]]:
    """The rows of each image, where Ultralytics looks for them, by the image's path below its split."""
    config = yaml.safe_load(data_yaml.read_text())
    found = {}
    for split in ("train", "val"):
        root = Path(config["path"]) / config[split]
        for image in sorted(path for path in root.rglob("*") if path.is_file()):
            rows = Path(str(image).replace("/images/", "/labels/")).with_suffix(".txt").read_text().splitlines()
            found[f"{split}/{image.relative_to(root)}"] = rows
    return found


def test_dice_to_yolo_is_a_data_yaml_in_the_dataset_s_folder(calls: Calls, tmp_path: Path):
    folder = make_dice(tmp_path / "ds", NAMES)
    splits = {str(number): "val" if number > 7 else "train" for number in range(1, 11)}
    assert calls.convert_dataset(str(folder), "dice", "yolo", {"splits": splits}) == str(folder)
    assert yaml.safe_load((folder / "data.yaml").read_text())["names"] == {0: "scratch", 1: "dent"}
    found = labels(folder / "data.yaml")
    assert sorted(found) == sorted(f"{splits[str(at)]}/{name}" for at, name in enumerate(NAMES, 1))
    assert found["train/line1/p1.png"] == []
    assert found["val/line0/p8.png"] == ["0 0.250000 0.300000 0.300000 0.400000"]


@pytest.mark.parametrize(
    "config",
    [
        {"train_ratio": 0.5, "val_ratio": 0.5, "seed": 1},
        {"method": "auto", "ratio": [0.5, 0.5], "seed": 1},
        {"method": "auto", "default_ratio": [0.5, 0.5], "seed": 1},
    ],
)
def test_every_shape_of_split_config_is_understood(calls: Calls, tmp_path: Path, config: dict[str, Any]):
    folder = make_dice(tmp_path / "ds", NAMES)
    calls.convert_dataset(str(folder), "dice", "yolo", config)
    images = [{"id": at, "file_name": name} for at, name in enumerate(NAMES, 1)]
    expected = calls.split_dataset(images, 0.5, 0.5, seed=1)
    assert sorted(labels(folder / "data.yaml")) == sorted(f"{expected[at]}/{NAMES[at - 1]}" for at in expected)


def test_a_split_that_the_dataset_itself_asks_to_be_stratified_is_so(calls: Calls, tmp_path: Path):
    config = {"method": "auto", "default_ratio": [0.5, 0.5], "stratify_by": "class"}
    folder = make_dice(tmp_path / "ds", NAMES, split_config=config)
    file = folder / "annotations_detection.json"
    content = json.loads(file.read_text())
    for image in content["images"]:
        image["annotations"] = [{"class_id": 9 if image["id"] > 8 else 4, "bbox": [20, 10, 60, 40]}]
    file.write_text(json.dumps(content))
    calls.convert_dataset(str(folder), "dice", "yolo")
    found = Counter((image.split("/")[0], rows[0][0]) for image, rows in labels(folder / "data.yaml").items())
    assert found == {("train", "0"): 4, ("val", "0"): 4, ("train", "1"): 1, ("val", "1"): 1}


def coco_of(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file.read_text())
    return content


@pytest.mark.parametrize("times", [1, 2])
def test_dice_to_coco_is_where_the_detection_trainer_looks(calls: Calls, tmp_path: Path, times: int):
    """It trains on annotations_detection.json, and validates on annotations_val.json if that is there."""
    folder = make_dice(tmp_path / "ds", NAMES)
    original = (folder / "annotations_detection.json").read_bytes()
    for _ in range(times):
        assert calls.convert_dataset(str(folder), "dice", "coco", {"train_ratio": 0.6}) == str(folder)
    train, val = coco_of(folder / "annotations_detection.json"), coco_of(folder / "annotations_val.json")
    assert len(train["images"]) + len(val["images"]) == 10
    assert val["images"]
    for coco in (train, val):
        assert [one["name"] for one in coco["categories"]] == ["scratch", "dent"]
        for image in coco["images"]:
            with Image.open(folder / "images" / image["file_name"]) as found:
                assert found.size == (image["width"], image["height"])
        ids = {image["id"] for image in coco["images"]}
        assert {one["image_id"] for one in coco["annotations"]} <= ids
    assert len(train["annotations"]) + len(val["annotations"]) == 9
    assert (folder / "dice_annotations_detection.json").read_bytes() == original
    calls.convert_dataset(str(folder), "dice", "yolo")
    assert len(labels(folder / "data.yaml")) == 10


@pytest.mark.parametrize("name", ["annotations.json", "annotations_object_detection.json"])
def test_the_annotation_file_may_have_another_name(calls: Calls, tmp_path: Path, name: str):
    folder = make_dice(tmp_path / "ds", NAMES)
    (folder / "annotations_detection.json").rename(folder / name)
    for _ in range(2):
        calls.convert_dataset(str(folder), "dice", "coco")
        calls.convert_dataset(str(folder), "dice", "yolo")
    images = [coco_of(folder / f"annotations_{which}.json")["images"] for which in ("detection", "val")]
    assert sum(map(len, images)) == len(labels(folder / "data.yaml")) == 10


def test_the_ranks_of_a_job_convert_once_and_never_what_was_made_of_the_dataset(calls: Calls, tmp_path: Path):
    folder = make_dice(tmp_path / "ds", NAMES)
    together([lambda: calls.convert_dataset(str(folder), "dice", "coco")] * 4)
    made = folder / ".converted" / "coco-detection"
    there = made.stat().st_ino
    calls.convert_dataset(str(folder), "dice", "coco")
    assert made.stat().st_ino == there
    images = [coco_of(folder / f"annotations_{which}.json")["images"] for which in ("detection", "val")]
    assert sum(map(len, images)) == 10


def test_a_dataset_that_was_exported_anew_is_converted_anew(calls: Calls, tmp_path: Path):
    folder = make_dice(tmp_path / "ds", NAMES)
    calls.convert_dataset(str(folder), "dice", "coco")
    make_dice(folder, NAMES[:4])
    calls.convert_dataset(str(folder), "dice", "coco")
    images = [coco_of(folder / f"annotations_{name}.json")["images"] for name in ("detection", "val")]
    assert sum(map(len, images)) == 4


def test_no_old_validation_is_left_where_nothing_validates(calls: Calls, tmp_path: Path):
    folder = make_dice(tmp_path / "ds", NAMES)
    calls.convert_dataset(str(folder), "dice", "coco")
    assert (folder / "annotations_val.json").exists()
    calls.convert_dataset(str(folder), "dice", "coco", {"splits": dict.fromkeys(map(str, range(1, 11)), "train")})
    assert not (folder / "annotations_val.json").exists()


def test_dice_to_image_folders_is_train_and_val_in_the_dataset_s_folder(calls: Calls, tmp_path: Path):
    folder = make_dice(tmp_path / "ds", NAMES)
    images = [
        {"id": at, "file_name": name, "annotations": [{"class_id": 4 if at % 2 else 9}]}
        for at, name in enumerate(NAMES, 1)
    ]
    classes = [{"id": 4, "name": "scratch"}, {"id": 9, "name": "dent"}]
    (folder / "annotations_classification.json").write_text(json.dumps({"classes": classes, "images": images}))
    splits = {"splits": {str(at): "val" if at > 6 else "train" for at in range(1, 11)}}
    for _ in range(2):
        calls.convert_dataset(str(folder), "dice", "imagefolder", splits, "image_classification")
    found = {
        split: {kind.name: len(files_below(kind)) for kind in (folder / split).iterdir()} for split in ("train", "val")
    }
    assert found == {"train": {"scratch": 3, "dent": 3}, "val": {"scratch": 2, "dent": 2}}
    assert not (folder / "test").exists()


@pytest.mark.parametrize(("source", "target"), [("dice", "segmentation"), ("tfrecord", "yolo")])
def test_a_format_that_nobody_knows_is_named(calls: Calls, tmp_path: Path, source: str, target: str):
    with pytest.raises(InvalidSetting, match="known: "):
        calls.convert_dataset(str(make_dice(tmp_path / "ds", NAMES)), source, target)


def test_a_dataset_without_annotations_is_an_error_and_not_a_success(calls: Calls, tmp_path: Path):
    with pytest.raises(DatasetError, match=r"annotations_detection\.json"):
        calls.convert_dataset(str(tmp_path), "dice", "yolo")
    assert not (tmp_path / "data.yaml").exists()


def test_images_are_split_by_their_ids_whatever_kind_these_are(calls: Calls):
    images: list[dict[str, Any]] = [{"id": f"uuid-{number}"} for number in range(50)] + [{"id": 7}]
    found = calls.split_dataset(images, 0.7, 0.2, 0.1)
    assert list(found) == [image["id"] for image in images]
    assert set(found.values()) == {"train", "val", "test"}
    assert found == calls.split_dataset(images, 0.7, 0.2, 0.1)
    assert found != calls.split_dataset(images, 0.7, 0.2, 0.1, seed=43)


def test_images_are_stratified_by_what_is_on_them(calls: Calls):
    images = [{"id": number, "annotations": [{"class_id": number % 2}]} for number in range(20)]
    found = calls.split_dataset(images, 0.5, 0.5, stratify_by="class")
    assert Counter(found[number] for number in range(0, 20, 2)) == {"train": 5, "val": 5}


def test_a_data_yaml_of_ones_own(calls: Calls, tmp_path: Path):
    path = calls.create_data_yaml(str(tmp_path), ["scratch", "no: dent"], test_path="test.txt")
    assert yaml.safe_load(Path(path).read_text()) == {
        "path": str(tmp_path),
        "train": "train.txt",
        "val": "val.txt",
        "test": "test.txt",
        "nc": 2,
        "names": ["scratch", "no: dent"],
    }


def test_a_dataset_is_validated_with_its_counts(calls: Calls, tmp_path: Path):
    folder = make_dice(tmp_path / "ds", NAMES)
    assert calls.validate_dataset(str(folder), "dice") == {
        "valid": True,
        "issues": [],
        "stats": {
            "total_images": 10,
            "total_labels": 9,
            "classes": ["scratch", "dent"],
            "class_distribution": {"scratch": 9},
        },
    }


@pytest.mark.parametrize("target", ["yolo", "coco"])
def test_what_was_converted_is_validated(calls: Calls, tmp_path: Path, target: str):
    folder = make_dice(tmp_path / "ds", NAMES)
    calls.convert_dataset(str(folder), "dice", target)
    found = calls.validate_dataset(str(folder), target)
    assert (found["issues"], found["stats"]["total_images"]) == ([], 10)
    assert found["stats"]["class_distribution"] == {"scratch": 9}


def break_an_image(folder: Path) -> None:
    (folder / "images" / NAMES[1]).unlink()


def break_a_box(folder: Path) -> None:
    file = folder / "annotations_detection.json"
    file.write_text(file.read_text().replace("[20, 10, 60, 40]", "[20, 10, 0, 40]", 1))


@pytest.mark.parametrize(
    ("damage", "check_labels", "issues"),
    [
        (break_an_image, True, ["1 missing: image"]),
        (break_an_image, False, ["1 missing: image"]),
        (break_a_box, True, ["1 dropped: its box has no area"]),
        (break_a_box, False, []),
    ],
)
def test_what_is_wrong_with_a_dataset_is_an_issue(
    calls: Calls, tmp_path: Path, damage: Callable[[Path], None], check_labels: bool, issues: list[str]
):
    folder = make_dice(tmp_path / "ds", NAMES)
    damage(folder)
    found = calls.validate_dataset(str(folder), "dice", check_labels=check_labels)
    assert (found["issues"], found["valid"]) == (issues, not issues)


def test_too_few_images_and_an_unreadable_file_are_issues_too(calls: Calls, tmp_path: Path):
    folder = make_dice(tmp_path / "ds", NAMES)
    assert calls.validate_dataset(str(folder), "dice", min_images=11)["issues"] == [
        "only 10 images can be used (at least 11 are asked for)"
    ]
    (folder / "annotations_detection.json").write_text("{")
    found = calls.validate_dataset(str(folder), "dice")
    assert not found["valid"]
    assert "annotations_detection.json" in found["issues"][0]


def test_cache_files_are_removed_and_counted(calls: Calls, tmp_path: Path):
    folder = make_dice(tmp_path / "ds", NAMES)
    calls.convert_dataset(str(folder), "dice", "yolo")
    (folder / "train.cache").touch()
    (folder / CONVERTED / "yolo-detection" / "labels" / "train.cache").touch()
    assert calls.clean_dataset_cache(str(folder)) == 2
    assert not list(folder.rglob("*.cache"))

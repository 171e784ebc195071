"""Datasets that are given as lists of addresses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.datasets.stored import jpeg, settings_for, tree, write
from tests.servers.s3 import BUCKET, S3Server, moto_server
from trainer_hooks import datasets
from trainer_hooks.errors import DatasetError
from trainer_hooks.settings import Settings


@pytest.fixture(scope="module")
def moto() -> Iterator[S3Server]:
    with moto_server() as server:
        yield server


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_for(tmp_path)


def listed(folder: Path, *pairs: tuple[str, str], **more: Any) -> dict[str, Any]:
    """A list of files in that folder, which are made."""
    for image, label in pairs:
        write(folder / image, f"image {image}".encode())
        write(folder / label, f"label {label}".encode())
    summary = [
        {"img_path": (folder / image).as_uri(), "label_path": (folder / label).as_uri()} for image, label in pairs
    ]
    return {"data_summary": summary, **more}


def test_images_and_labels_lie_beside_each_other(tmp_path: Path, settings: Settings):
    given = listed(tmp_path / "d", ("images/1.jpg", "labels/1.json"), ("images/ü 2.PNG", "labels/other.json"))
    found = datasets.fetch_annotation(given, settings=settings)
    assert {name: content.decode() for name, content in tree(found.path).items()} == {
        "data/1.jpg": "image images/1.jpg",
        "data/1.json": "label labels/1.json",
        "data/ü 2.PNG": "image images/ü 2.PNG",
        "data/ü 2.json": "label labels/other.json",
    }
    assert (found.format, found.files, found.missing) == ("labelme", 4, ())


def test_equal_names_never_become_one_file(tmp_path: Path, settings: Settings):
    pairs = [("x/1.jpg", "x/1.json"), ("y/1.jpg", "y/1.json"), ("z/1.png", "z/1.json"), ("z/2.jpg", "z/2.json")]
    found = tree(datasets.fetch_annotation(listed(tmp_path / "d", *pairs), settings=settings).path)
    assert len(found) == 8
    assert {"data/2.jpg", "data/2.json"} < found.keys()
    for name, content in found.items():
        if name.endswith(".json"):
            image = next(found[other] for other in found if other != name and other.startswith(name[: -len("json")]))
            assert content.decode().replace("label", "image").partition(".")[0] == image.decode().partition(".")[0]


def test_a_pair_that_is_named_twice_counts_once(tmp_path: Path, settings: Settings):
    pair = ("x/1.jpg", "x/1.json")
    assert datasets.fetch_annotation(listed(tmp_path / "d", pair, pair), settings=settings).files == 2


def coco(file: Path, *names: str) -> None:
    write(
        file, json.dumps({"images": [{"id": number, "file_name": name} for number, name in enumerate(names)]}).encode()
    )


def test_a_coco_list_has_one_label_for_all_or_one_each(tmp_path: Path, settings: Settings):
    shared = listed(tmp_path / "d", ("i/1.jpg", "coco.json"), ("i/2.jpg", "coco.json"))
    coco(tmp_path / "d/coco.json", "1.jpg", "2.jpg")
    found = datasets.fetch_annotation(shared, format="coco", settings=settings)
    assert sorted(tree(found.path)) == ["annotations/coco.json", "images/1.jpg", "images/2.jpg"]
    each = listed(tmp_path / "d", ("i/a/1.jpg", "l/a/1.json"), ("i/b/1.jpg", "l/b/1.json"))
    for label in ("l/a/1.json", "l/b/1.json"):
        coco(tmp_path / "d" / label, "1.jpg")
    found = datasets.fetch_annotation(each, format="coco", settings=settings)
    names = sorted(tree(found.path))
    assert names[2:] == ["images/a/1.jpg", "images/b/1.jpg"]
    assert [name.partition("-")[0] for name in names[:2]] == ["annotations/1", "annotations/1"]


def test_images_of_a_coco_list_lie_where_its_labels_say(tmp_path: Path, settings: Settings):
    names = ["train/1.jpg", "val/2.jpg", "3.jpg", "train/3.jpg"]
    given = listed(tmp_path / "d/coco", *((name, "l.json") for name in names))
    coco(tmp_path / "d/coco/l.json", *names)
    found = datasets.fetch_annotation(given, format="coco", settings=settings)
    assert sorted(tree(found.path)) == ["annotations/l.json", *sorted(f"images/{name}" for name in names)]
    told: list[int] = []
    again = datasets.fetch_annotation(given, format="coco", settings=settings, progress=lambda *_: told.append(1))
    assert (again.path, told) == (found.path, [])


def test_equal_names_in_two_stores_keep_all_their_letters(moto: S3Server, tmp_path: Path):
    given = listed(tmp_path / "d", ("1.jpg", "l.json"))
    coco(tmp_path / "d/l.json", "1.jpg")
    client = moto.client()
    client.put_object(Bucket=BUCKET, Key="1.jpg", Body=b"another")
    keys = {"dataset_access_key": moto.access_key, "dataset_secret_key": moto.secret_key}
    settings = settings_for(tmp_path, dataset_endpoint=moto.url, **keys)
    label = given["data_summary"][0]["label_path"]
    given["data_summary"].append({"img_path": f"s3://{BUCKET}/1.jpg", "label_path": label})
    found = datasets.fetch_annotation(given, format="coco", settings=settings)
    assert f"images/{BUCKET}/1.jpg" in tree(found.path)


def test_the_bucket_of_each_address_counts(moto: S3Server, tmp_path: Path):
    client = moto.client()
    client.create_bucket(Bucket="second")
    for bucket in (BUCKET, "second"):
        for name in ("k/1.jpg", "k/1.json"):
            client.put_object(Bucket=bucket, Key=name, Body=f"{bucket} {name}".encode())
    keys = {"dataset_access_key": moto.access_key, "dataset_secret_key": moto.secret_key}
    settings = settings_for(tmp_path, dataset_endpoint=moto.url, **keys)
    pairs = [{"img_path": f"s3://{b}/k/1.jpg", "label_path": f"s3://{b}/k/1.json"} for b in (BUCKET, "second")]
    found = datasets.fetch_annotation({"data_summary": pairs}, settings=settings)
    contents = sorted(content.decode() for content in tree(found.path).values())
    assert contents == ["bucket k/1.jpg", "bucket k/1.json", "second k/1.jpg", "second k/1.json"]


def test_it_is_cached_until_something_in_it_changes(tmp_path: Path, settings: Settings):
    given = listed(tmp_path / "d", ("1.jpg", "1.json"))
    first = datasets.fetch_annotation(given, settings=settings)
    assert datasets.fetch_annotation(given, settings=settings).path == first.path
    write(tmp_path / "d/1.json", b"another label")
    second = datasets.fetch_annotation(given, settings=settings)
    assert tree(second.path)["data/1.json"] == b"another label"


def test_classes_are_kept(tmp_path: Path, settings: Settings):
    classes = {"num_classes": 1, "classes": [{"name": "scratch", "idx": 0, "color": "#fff"}]}
    given = listed(tmp_path / "d", ("1.jpg", "1.json"), class_summary=classes, task_type="det")
    found = datasets.fetch_annotation(given, settings=settings)
    assert json.loads((found.path / "classes.json").read_bytes()) == classes
    del given["class_summary"]
    assert datasets.fetch_annotation(given, settings=settings).path != found.path


def test_classes_that_are_no_json_are_an_error(tmp_path: Path, settings: Settings):
    given = listed(tmp_path / "d", ("1.jpg", "1.json"), class_summary={"a": object()})
    with pytest.raises(DatasetError, match="class_summary of the list of annotations can't be written"):
        datasets.fetch_annotation(given, settings=settings)


def test_what_is_missing_is_an_error_unless_allowed_for(tmp_path: Path, settings: Settings):
    given = listed(tmp_path / "d", ("1.jpg", "1.json"), ("2.jpg", "2.json"), ("3.jpg", "3.json"))
    (tmp_path / "d/1.jpg").unlink()
    (tmp_path / "d/2.json").unlink()
    with pytest.raises(DatasetError, match=r"2 of 3 images.*1\.jpg.*2\.jpg.*max_missing"):
        datasets.fetch_annotation(given, settings=settings)
    found = datasets.fetch_annotation(given, max_missing=2, settings=settings)
    assert sorted(tree(found.path)) == ["data/3.jpg", "data/3.json"]
    assert found.missing == tuple((tmp_path / "d" / name).as_uri() for name in ("1.jpg", "2.jpg"))
    (tmp_path / "d/3.jpg").unlink()
    with pytest.raises(DatasetError, match="no image that is there"):
        datasets.fetch_annotation(given, max_missing=3, settings=settings)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"data_summary": []},
        {"data_summary": [{"img_path": "s3://b/1.jpg"}]},
        {"data_summary": [{"img_path": 1, "label_path": None}]},
        {"data_summary": "s3://b/1.jpg"},
        [],
    ],
)
def test_a_list_that_is_none_or_empty_is_an_error(settings: Settings, given: Any):
    with pytest.raises(DatasetError, match="the list of annotations"):
        datasets.fetch_annotation(given, settings=settings)


@pytest.mark.parametrize(
    "address",
    [
        "1.jpg",
        "/etc/passwd",
        "s3://",
        "s3://b",
        "s3://b/../c/1.jpg",
        "file:///a/%2e%2e/b",
        "file://host/a",
        "s3://b//1",
    ],
)
def test_an_address_that_is_none_is_an_error(settings: Settings, address: str):
    with pytest.raises(DatasetError):
        datasets.fetch_annotation({"data_summary": [{"img_path": address, "label_path": address}]}, settings=settings)


def test_only_what_is_allowed_is_fetched(tmp_path: Path):
    given = listed(tmp_path / "data", ("1.jpg", "1.json"))
    listed(tmp_path / "database", ("1.jpg", "1.json"))

    def fetch(*allowed: str) -> datasets.Dataset:
        return datasets.fetch_annotation(given, settings=settings_for(tmp_path, dataset_allow=", ".join(allowed)))

    root = tmp_path.as_uri()
    assert fetch("s3://bucket", f"{root}/data").files == 2
    assert fetch(f"{root}/data/").files == 2
    for other in ("s3://bucket", f"{root}/dat", f"{root}/data/1.jpg"):
        with pytest.raises(DatasetError, match="TRAINER_HOOKS_DATASET_ALLOW"):
            fetch(other)
    given["data_summary"][0]["label_path"] = f"{root}/data/../database/1.json"
    with pytest.raises(DatasetError):
        fetch(f"{root}/data")


def test_an_allowed_folder_may_be_percent_encoded_and_links_lead_out_of_none(tmp_path: Path):
    given = listed(tmp_path / "my data", ("1.jpg", "1.json"))
    settings = settings_for(tmp_path, dataset_allow=(tmp_path / "my data").as_uri())
    assert datasets.fetch_annotation(given, settings=settings).files == 2
    write(tmp_path / "secret", b"of this machine")
    (tmp_path / "my data/1.json").unlink()
    (tmp_path / "my data/1.json").symlink_to(tmp_path / "secret")
    with pytest.raises(DatasetError, match="TRAINER_HOOKS_DATASET_ALLOW"):
        datasets.fetch_annotation(given, settings=settings)


def test_where_datasets_come_from_a_bucket_a_list_names_no_file_of_this_machine(tmp_path: Path):
    given = listed(tmp_path / "d", ("1.jpg", "1.json"))
    with pytest.raises(DatasetError, match="it is a file of this machine"):
        datasets.fetch_annotation(given, settings=settings_for(tmp_path, dataset_storage="s3://bucket"))
    allowed = settings_for(tmp_path, dataset_storage="s3://bucket", dataset_allow=(tmp_path / "d").as_uri())
    assert datasets.fetch_annotation(given, settings=allowed).files == 2


def test_an_address_with_a_password_is_not_shown(tmp_path: Path):
    address = "s3://user:hunter2@bucket/1.jpg"
    given = {"data_summary": [{"img_path": address, "label_path": address}]}
    with pytest.raises(DatasetError) as told:
        datasets.fetch_annotation(given, settings=settings_for(tmp_path, dataset_allow="s3://other"))
    assert "hunter2" not in str(told.value)


def test_another_format_is_told_which_are_known(settings: Settings):
    with pytest.raises(DatasetError, match=r"'voc' \(known: labelme, coco\)"):
        datasets.fetch_annotation({"data_summary": []}, format="voc", settings=settings)


def test_progress_is_told(tmp_path: Path, settings: Settings):
    told: list[tuple[int, int]] = []
    given = listed(tmp_path / "d", ("1.jpg", "1.json"))
    found = datasets.fetch_annotation(given, settings=settings, progress=lambda *done: told.append(done))
    assert told[-1] == (2, found.size)
    assert jpeg(1)

"""What is fetched of a dataset, and what is refused."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.datasets.stored import jpeg, left_over, put_annotations, put_dataset, settings_for, tree, version_of, write
from tests.servers.s3 import BUCKET, S3Server, moto_server
from trainer_hooks import datasets
from trainer_hooks.errors import DatasetError, InvalidSetting, StorageRefused
from trainer_hooks.settings import Settings


@pytest.fixture(scope="module")
def moto() -> Iterator[S3Server]:
    with moto_server() as server:
        yield server


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_for(tmp_path)


def test_a_dataset_comes_with_its_annotations_and_the_images_they_name(store: Path, settings: Settings):
    put_dataset(store)
    write(store / "datasets/ds_1/images/unnamed.jpg", jpeg(99))

    found = datasets.fetch("ds_1", task="detection", settings=settings)

    expected = tree(store / "datasets/ds_1")
    del expected["images/unnamed.jpg"]
    assert tree(found.path) == expected
    assert (found.id, found.format, found.files, found.missing) == ("ds_1", "dice", 13, ())
    assert found.size == sum(map(len, expected.values()))


def test_whole_means_everything(store: Path, settings: Settings):
    put_dataset(store)
    write(store / "datasets/ds_1/readme.txt", b"read me")
    found = datasets.fetch("ds_1", whole=True, settings=settings)
    assert tree(found.path) == tree(store / "datasets/ds_1")


def test_without_an_annotation_file_everything_comes_and_that_is_said(store: Path, settings: Settings, caplog):
    write(store / "datasets/ds_1/train/cat/1.jpg", jpeg(1))
    found = datasets.fetch("ds_1", task="classification", settings=settings)
    assert tree(found.path) == tree(store / "datasets/ds_1")
    assert found.format is None
    assert "has no annotation file" in caplog.text


@pytest.mark.parametrize(
    ("task", "file"),
    [
        ("object_detection", "annotations_detection.json"),
        ("detection", "annotations_detection.json"),
        ("instance_segmentation", "annotations_segmentation.json"),
        ("pose_estimation", "annotations_pose.json"),
        ("image_classification", "annotations_classification.json"),
        ("obb", "annotations_obb.json"),
        ("line_detection", "annotations_line_detection.json"),
        ("segment", "annotations_segmentation.json"),
        ("Detect", "annotations_detection.json"),
        ("pose", "annotations_keypoint_detection.json"),
    ],
)
def test_the_annotation_file_is_the_task_s_own(store: Path, settings: Settings, task: str, file: str):
    put_dataset(store, task="other")
    own = file.removeprefix("annotations_").removesuffix(".json")
    put_annotations(store, ["line0/p0.jpg"], task=own)
    found = datasets.fetch("ds_1", task=task, settings=settings)
    assert sorted(tree(found.path)) == [file, "images/line0/p0.jpg"]


def test_where_the_task_has_none_the_common_annotation_file_counts(store: Path, settings: Settings):
    put_dataset(store)
    put_annotations(store, ["line1/p1.jpg"], task=None)
    found = datasets.fetch("ds_1", task="pose", settings=settings)
    assert sorted(tree(found.path)) == ["annotations.json", "images/line1/p1.jpg"]


def test_a_task_that_has_no_annotation_file_is_an_error_that_lists_those_there_are(store: Path, settings: Settings):
    put_dataset(store)
    put_annotations(store, ["line0/p0.jpg"], task="pose")
    with pytest.raises(
        DatasetError, match=r"'detectoin' \(it has: annotations_detection\.json, annotations_pose\.json\)"
    ):
        datasets.fetch("ds_1", task="detectoin", settings=settings)


def test_an_image_that_is_named_as_the_annotation_file_comes_once(store: Path, settings: Settings):
    put_dataset(store, count=1)
    put_annotations(store, ["line0/p0.jpg", "annotations_detection.json"])
    found = datasets.fetch("ds_1", settings=settings)
    assert (sorted(tree(found.path)), found.files) == (["annotations_detection.json", "images/line0/p0.jpg"], 2)


def test_without_a_task_the_images_of_all_annotation_files_come(store: Path, settings: Settings):
    put_dataset(store)
    put_annotations(store, ["line0/p0.jpg"])
    put_annotations(store, ["line1/p1.jpg"], task="pose")
    found = datasets.fetch("ds_1", settings=settings)
    names = ["annotations_detection.json", "annotations_pose.json", "images/line0/p0.jpg", "images/line1/p1.jpg"]
    assert sorted(tree(found.path)) == names


def test_images_lie_where_the_annotations_say(store: Path, settings: Settings):
    put_annotations(store, ["a.jpg", "images/b.jpg", "c.jpg"], root="pool/shared/")
    write(store / "pool/shared/a.jpg", jpeg(1))
    write(store / "datasets/ds_1/images/b.jpg", jpeg(2))  # its name begins with images/
    write(store / "datasets/ds_1/c.jpg", jpeg(3))
    found = datasets.fetch("ds_1", settings=settings)
    images = {name: content for name, content in tree(found.path).items() if name.endswith(".jpg")}
    assert images == {"images/a.jpg": jpeg(1), "images/b.jpg": jpeg(2), "c.jpg": jpeg(3)}


def test_a_copied_dataset_still_finds_its_images(store: Path, settings: Settings):
    put_annotations(store, ["a.jpg"], "copy", root="datasets/original/pictures/")
    write(store / "datasets/copy/pictures/a.jpg", jpeg(1))
    found = datasets.fetch("copy", settings=settings)
    assert tree(found.path)["pictures/a.jpg"] == jpeg(1)


def test_two_images_never_become_one_file(store: Path, settings: Settings):
    put_annotations(store, ["a.jpg", "images/a.jpg"], root="pool/")
    write(store / "pool/a.jpg", jpeg(1))
    write(store / "datasets/ds_1/images/a.jpg", jpeg(2))
    with pytest.raises(DatasetError, match=r"would be one file, images/a\.jpg"):
        datasets.fetch("ds_1", settings=settings)


@pytest.mark.parametrize(
    "name", ["../../escape.jpg", "/etc/passwd", "a/../../b.jpg", "a\\b.jpg", "nul\x00.jpg", "C:/a.jpg", "a//b.jpg", ""]
)
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, store: Path, settings: Settings, name: str):
    put_annotations(store, [name])
    with pytest.raises(DatasetError, match="can't be the name of a file"):
        datasets.fetch("ds_1", settings=settings)
    assert not list(tmp_path.rglob("*escape*"))


@pytest.mark.parametrize("root", ["../elsewhere/", "/../x/", "a/../../b/"])
def test_an_image_root_that_leads_elsewhere_is_refused(store: Path, settings: Settings, root: str):
    put_annotations(store, ["a.jpg"], root=root)
    with pytest.raises(DatasetError, match="can't be the name of a file"):
        datasets.fetch("ds_1", settings=settings)


def test_a_link_out_of_the_storage_is_not_followed(tmp_path: Path, store: Path, settings: Settings):
    put_dataset(store)
    write(tmp_path / "secret", jpeg(1))
    image = store / "datasets/ds_1/images/line0/p0.jpg"
    image.unlink()
    image.symlink_to(tmp_path / "secret")
    with pytest.raises(StorageRefused, match="leads out of"):
        datasets.fetch("ds_1", settings=settings)
    write(store / "pool/p0.jpg", jpeg(1))
    image.unlink()
    image.symlink_to(store / "pool/p0.jpg")  # within it, links are free to save room
    assert datasets.fetch("ds_1", settings=settings).files == 13


def test_images_of_elsewhere_are_to_be_allowed_where_anything_is(tmp_path: Path, store: Path):
    put_dataset(store, "others", count=3)
    put_annotations(store, ["line0/p0.jpg"], root="datasets/others/images/")
    allowed = settings_for(tmp_path, dataset_allow=f"{store.as_uri()}/datasets/others")
    assert datasets.fetch("ds_1", settings=allowed).files == 2
    assert datasets.fetch("ds_1", settings=settings_for(tmp_path)).files == 2
    with pytest.raises(DatasetError, match="TRAINER_HOOKS_DATASET_ALLOW"):
        datasets.fetch("ds_1", settings=settings_for(tmp_path, dataset_allow=f"{store.as_uri()}/pool"))


@pytest.mark.parametrize("dataset_id", ["", "..", "a/b", "/abs", "a\\b"])
def test_an_id_is_one_name(settings: Settings, dataset_id: str):
    with pytest.raises(DatasetError):
        datasets.fetch(dataset_id, settings=settings)


def test_an_empty_prefix_is_an_error(store: Path, settings: Settings):
    put_dataset(store)
    with pytest.raises(DatasetError, match=r"there is nothing in .*/datasets/ds_2"):
        datasets.fetch("ds_2", settings=settings)
    assert left_over(settings) == []


def test_missing_images_are_an_error_unless_so_many_are_allowed_for(store: Path, settings: Settings):
    put_dataset(store)
    for number in (1, 4):
        (store / f"datasets/ds_1/images/line1/p{number}.jpg").unlink()
    with pytest.raises(DatasetError, match=r"2 of 12 images aren't in the storage.* line1/p1\.jpg, line1/p4\.jpg"):
        datasets.fetch("ds_1", max_missing=1, settings=settings)

    found = datasets.fetch("ds_1", max_missing=2, settings=settings)
    assert found.missing == ("line1/p1.jpg", "line1/p4.jpg")
    assert found.files == 11
    again = datasets.fetch("ds_1", max_missing=2, settings=settings)
    assert (again.path, again.missing) == (found.path, found.missing)
    with pytest.raises(DatasetError):  # what was allowed for then isn't now
        datasets.fetch("ds_1", settings=settings)


def test_an_image_that_has_come_since_is_fetched_though_the_version_is_the_same(store: Path, settings: Settings):
    version = put_dataset(store)
    image = store / "datasets/ds_1/images/line1/p1.jpg"
    content = image.read_bytes()
    image.unlink()
    found = datasets.fetch("ds_1", version_hash=version, max_missing=1, settings=settings)
    assert found.missing == ("line1/p1.jpg",)
    image.write_bytes(content)

    assert datasets.fetch("ds_1", version_hash=version, max_missing=1, settings=settings).missing == ()


def test_the_version_is_compared(store: Path, settings: Settings):
    version = put_dataset(store)
    put_annotations(store, ["line1/p1.jpg"], task="pose")
    both = version_of(store / "datasets/ds_1")
    with pytest.raises(DatasetError, match=f"have the hash {both}, and {version} was asked for"):
        datasets.fetch("ds_1", task="detection", version_hash=version, settings=settings)
    found = datasets.fetch("ds_1", task="detection", version_hash=both.upper(), settings=settings)
    assert found.files == 14  # with the other task's annotations, which the hash covers


def test_a_version_that_is_there_is_found_without_the_storage(store: Path, settings: Settings):
    version = put_dataset(store)
    first = datasets.fetch("ds_1", version_hash=version, settings=settings)
    store.rename(store.with_name("gone"))
    assert datasets.fetch("ds_1", version_hash=version, settings=settings) == first


def test_another_name_of_the_task_and_a_slash_find_the_same_version(store: Path, settings: Settings):
    version = put_dataset(store)
    address = (store / "datasets/ds_1").as_uri()
    asked = [(address, "detection"), (f"{address}/", "object_detection"), (address, "detect")]
    found = [datasets.fetch(uri=uri, task=task, version_hash=version, settings=settings) for uri, task in asked]
    assert len({one.path for one in found}) == 1


def test_without_a_version_a_changed_image_is_noticed(store: Path, settings: Settings):
    put_dataset(store)
    first = datasets.fetch("ds_1", settings=settings)
    assert datasets.fetch("ds_1", settings=settings) == first
    write(store / "datasets/ds_1/images/line0/p0.jpg", jpeg(77, 500))
    second = datasets.fetch("ds_1", settings=settings)
    assert second.path != first.path
    assert tree(second.path)["images/line0/p0.jpg"] == jpeg(77, 500)


def test_a_snapshot_a_task_and_a_version_have_entries_of_their_own(store: Path, settings: Settings):
    version = put_dataset(store)
    asked = [{}, {"snapshot_id": "s1"}, {"snapshot_id": "s2"}, {"task": "detection"}, {"whole": True}]
    found = {
        datasets.fetch("ds_1", version_hash=given, settings=settings, **one).path
        for one in asked
        for given in (version, None)
    }
    assert len(found) == 9  # without a version, what it holds tells them apart: here the task's is all there is


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"images": [{"id": 1}]}', b'{"images": "x"}', b"[" * 100_000])
def test_an_annotation_file_that_is_none_is_a_clear_error(store: Path, settings: Settings, content: bytes):
    write(store / "datasets/ds_1/annotations.json", content)
    with pytest.raises(DatasetError, match=r"ds_1/annotations\.json is no annotation file"):
        datasets.fetch("ds_1", settings=settings)


def test_an_address_of_a_folder_will_do(tmp_path: Path, settings: Settings):
    write(tmp_path / "my data/1.jpg", jpeg(1))
    found = datasets.fetch(uri=(tmp_path / "my data").as_uri(), settings=settings)
    assert tree(found.path) == {"1.jpg": jpeg(1)}


def test_without_any_storage_the_mend_is_told(tmp_path: Path):
    settings = settings_for(tmp_path, dataset_storage=None)
    with pytest.raises(InvalidSetting, match="EXTERNAL_BUCKET_DATASETS"):
        datasets.fetch("ds_1", settings=Settings.load(environ={}, dataset_cache=settings.dataset_cache))
    with pytest.raises(DatasetError, match="no dataset was named"):
        datasets.fetch(settings=settings)


def test_progress_tells_files_and_bytes(store: Path, settings: Settings):
    put_dataset(store)
    told: list[tuple[int, int]] = []
    found = datasets.fetch("ds_1", settings=settings, progress=lambda files, size: told.append((files, size)))
    annotations = (store / "datasets/ds_1/annotations_detection.json").stat().st_size
    assert told[-1] == (12, found.size - annotations)
    assert told == sorted(told)


def test_a_download_that_was_cut_off_goes_on_where_it_was(store: Path, settings: Settings):
    version = put_dataset(store, count=200)

    def interrupt(files: int, _: int) -> None:
        if files >= 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        datasets.fetch("ds_1", version_hash=version, settings=settings, progress=interrupt)
    journal = next(settings.cache_root.glob("temp/*/journal"))
    kept = len(journal.read_bytes().splitlines())
    with journal.open("ab") as file:
        file.write(b'{"path":"images/li')  # as of a process that was killed while it wrote
    write(journal.parent / "files/images/line0/.p3.jpg.0123456789abcdef", b"half")

    told: list[int] = []
    found = datasets.fetch(
        "ds_1", version_hash=version, settings=settings, progress=lambda files, _: told.append(files)
    )
    assert told[0] >= kept - 1 >= 20  # but for the annotation file, which tells what is wanted
    assert tree(found.path) == tree(store / "datasets/ds_1")
    assert left_over(settings) == []


def test_what_changed_in_between_is_not_kept(store: Path, settings: Settings):
    version = put_dataset(store, count=200)

    def interrupt(files: int, _: int) -> None:
        if files >= 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        datasets.fetch("ds_1", version_hash=version, settings=settings, progress=interrupt)
    for path in (store / "datasets/ds_1/images").rglob("*.jpg"):
        path.write_bytes(path.read_bytes()[::-1])
    found = datasets.fetch("ds_1", version_hash=version, settings=settings)
    assert tree(found.path) == tree(store / "datasets/ds_1")


@pytest.mark.parametrize("address", [True, False])
def test_from_s3(moto: S3Server, tmp_path: Path, address: bool):
    client = moto.client()
    bucket = BUCKET if not address else "another"
    if address:
        client.create_bucket(Bucket=bucket)
    put_dataset(tmp_path / "made")
    put_annotations(tmp_path / "made", ["extra.jpg"], task="pose", root="pool/")
    write(tmp_path / "made/pool/extra.jpg", jpeg(5))
    for name, content in tree(tmp_path / "made").items():
        client.put_object(Bucket=bucket, Key=name, Body=content)
    client.put_object(Bucket=bucket, Key="datasets/ds_1/images/", Body=b"")  # a folder, to some tools
    settings = settings_for(
        tmp_path,
        dataset_storage=f"s3://{BUCKET}",
        dataset_endpoint=moto.url,
        dataset_access_key=moto.access_key,
        dataset_secret_key=moto.secret_key,
    )
    asked = {"uri": f"s3://{bucket}/datasets/ds_1"} if address else {"dataset_id": "ds_1"}

    found = datasets.fetch(**asked, settings=settings)

    assert found.id == "ds_1"
    expected = tree(tmp_path / "made/datasets/ds_1") | {"images/extra.jpg": jpeg(5)}
    assert tree(found.path) == expected
    assert datasets.fetch(**asked, settings=settings).path == found.path
    whole = datasets.fetch(**asked, whole=True, settings=settings)
    assert tree(whole.path) == tree(tmp_path / "made/datasets/ds_1")


def test_the_settings_come_from_the_environment(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    put_dataset(store)
    monkeypatch.setenv("TRAINER_HOOKS_DATASET_STORAGE", store.as_uri())
    monkeypatch.setenv("DATASET_CACHE_DIR", str(tmp_path / "elsewhere"))
    assert datasets.fetch("ds_1").path.is_relative_to(tmp_path / "elsewhere")
    assert json.loads((datasets.fetch("ds_1").path / "annotations_detection.json").read_bytes())["images"]


def test_what_is_fetched_can_only_be_read(store: Path, settings: Settings):
    put_dataset(store)
    found = datasets.fetch("ds_1", settings=settings)
    assert {path.stat().st_mode & 0o777 for path in found.path.rglob("*") if path.is_file()} == {0o444}
    assert {path.stat().st_mode & 0o777 for path in (found.path, *found.path.rglob("*/"))} == {0o555}


def test_a_name_that_is_a_file_and_a_folder_is_told(moto: S3Server, tmp_path: Path):
    client = moto.client()
    for key in ("datasets/both/a", "datasets/both/a/b"):
        client.put_object(Bucket=BUCKET, Key=key, Body=b"1")
    keys = {"dataset_access_key": moto.access_key, "dataset_secret_key": moto.secret_key}
    settings = settings_for(tmp_path, dataset_storage=f"s3://{BUCKET}", dataset_endpoint=moto.url, **keys)
    with pytest.raises(DatasetError, match="'a' both as a file and as a folder"):
        datasets.fetch("both", settings=settings)


def test_importing_it_is_cheap():
    code = "import sys, trainer_hooks.datasets; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "trainer_hooks.datasets" in modules
    assert not {"boto3", "numpy", "PIL", "yaml", "msgspec"} & set(modules)


def test_nothing_is_logged_above_info_when_all_is_well(store: Path, settings: Settings, caplog):
    put_dataset(store)
    caplog.set_level(logging.DEBUG, "trainer_hooks")
    datasets.fetch("ds_1", task="detection", settings=settings)
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []

"""A job's own folder of a dataset's files: next to free, and nothing done in it reaches the cache."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from tests.datasets.stored import jpeg, put_dataset, settings_for, tree, write
from tests.disks import LimitedDisk, small_disk
from trainer_hooks import datasets
from trainer_hooks.datasets.caching.inventory import prune
from trainer_hooks.errors import DatasetError
from trainer_hooks.files import clone_file


@pytest.fixture
def fetched(tmp_path: Path) -> datasets.Dataset:
    put_dataset(tmp_path / "store")
    folder = tmp_path / "store/datasets/ds_1"
    write(folder / "images/broken.jpg", jpeg(1)[:-2])
    write(folder / "images/truncated.png", jpeg(2)[:-1])  # a JPEG by its content, as PIL tells
    write(folder / "images/plain.PNG", b"\x89PNG")
    write(folder / "images/empty.jpg", b"")
    write(folder / "images/tiny.jpg", b"\xff\xd8")
    write(folder / "notes.txt", b"text")
    return datasets.fetch("ds_1", whole=True, settings=settings_for(tmp_path))


def test_a_view_has_the_same_files_in_folders_of_its_own(fetched: datasets.Dataset, tmp_path: Path):
    view = fetched.link_into(tmp_path / "job/dataset")
    assert view.path == tmp_path / "job/dataset"
    assert tree(view.path) == tree(fetched.path)
    assert (view.id, view.files, view.size, view.format) == (fetched.id, fetched.files, fetched.size, fetched.format)
    assert not [path for path in view.path.rglob("*") if path.is_symlink()]
    assert [path.name for path in (tmp_path / "job").iterdir()] == ["dataset"]


def test_only_what_nobody_writes_to_is_shared(fetched: datasets.Dataset, tmp_path: Path):
    view = fetched.link_into(tmp_path / "view")
    copied = {name for name in tree(view.path) if not (view.path / name).samefile(fetched.path / name)}
    assert copied == {
        "annotations_detection.json",
        "notes.txt",
        "images/broken.jpg",
        "images/truncated.png",
        "images/tiny.jpg",
    }
    for name in copied:
        assert os.access(view.path / name, os.W_OK)
        assert (view.path / name).stat().st_mode & 0o200


def test_what_is_written_into_a_view_stays_there(fetched: datasets.Dataset, tmp_path: Path):
    before = tree(fetched.path)
    view = fetched.link_into(tmp_path / "view")
    write(view.path / "images/labels.cache", b"1")
    write(view.path / "labels/1.txt", b"1")
    write(view.path / "images/broken.jpg", b"repaired")
    write(view.path / "annotations_detection.json", b"{}")
    (view.path / "images/line0/p0.jpg").unlink()
    assert tree(fetched.path) == before


def test_an_empty_folder_is_filled_and_another_is_left_alone(fetched: datasets.Dataset, tmp_path: Path):
    (tmp_path / "view").mkdir()
    fetched.link_into(str(tmp_path / "view"))
    for there in (tmp_path / "view", tmp_path / "file"):
        if not there.exists():
            write(there, b"mine")
        with pytest.raises(DatasetError, match="is there already"):
            fetched.link_into(there)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "file", "store", "view"]


def test_on_another_disk_files_are_copied(fetched: datasets.Dataset, tmp_path: Path):
    with small_disk(tmp_path / "disk") as disk:
        if isinstance(disk, LimitedDisk):
            pytest.skip("nothing can be mounted here")
        view = fetched.link_into(disk.path / "view")
        assert tree(view.path) == tree(fetched.path)
        disk.fill()
        with pytest.raises(OSError, match="No space"):
            fetched.link_into(disk.path / "second")
        assert sorted(path.name for path in disk.path.iterdir()) == ["ballast", "view"]


def test_where_the_file_system_has_references_nothing_is_shared(fetched: datasets.Dataset, tmp_path: Path):
    """Links share what root writes in place: no mode keeps it off."""
    if not clone_file(fetched.path / min(tree(fetched.path)), tmp_path / "clone"):
        pytest.skip("this file system has no references")
    before = tree(fetched.path)
    view = fetched.link_into(tmp_path / "view")
    assert tree(view.path) == before
    for name in before:
        (view.path / name).write_bytes(b"in place")
    assert tree(fetched.path) == before


def test_a_link_to_a_folder_is_followed(fetched: datasets.Dataset, tmp_path: Path):
    for there in (tmp_path / "disk/empty", tmp_path / "disk/new"):
        (tmp_path / "disk/empty").mkdir(parents=True, exist_ok=True)
        link = tmp_path / f"to-{there.name}"
        link.symlink_to(there)
        assert tree(fetched.link_into(link).path) == tree(there) == tree(fetched.path)


def test_what_is_mounted_is_filled(fetched: datasets.Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    with small_disk(tmp_path / "disk") as disk:
        if isinstance(disk, LimitedDisk):
            pytest.skip("nothing can be mounted here")
        fetched.link_into(disk.path)
        assert tree(disk.path) == tree(fetched.path)
        with pytest.raises(DatasetError, match="is there already"):
            fetched.link_into(disk.path)
        assert sorted(path.name for path in disk.path.iterdir()) == sorted(path.name for path in fetched.path.iterdir())
    assert [one.levelname for one in caplog.records if "copied and not linked" in one.message] == ["WARNING"]


def test_what_killed_jobs_have_left_is_removed_and_what_is_in_use_is_not(fetched: datasets.Dataset, tmp_path: Path):
    left, in_use, young = (tmp_path / f"jobs/.view.{digit * 16}" for digit in "abc")
    for folder in (left, in_use, young):
        write(folder / "images/1.jpg", b"half")
    for folder in (left, in_use):
        os.utime(folder, (0, 0))
    handle = os.open(in_use, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    fetched.link_into(tmp_path / "jobs/view")
    os.close(handle)
    assert sorted((tmp_path / "jobs").iterdir()) == [in_use, young, tmp_path / "jobs/view"]


def test_a_view_outlives_its_entry(fetched: datasets.Dataset, tmp_path: Path):
    view = fetched.link_into(tmp_path / "view")
    content = tree(fetched.path)
    fetched.release()
    prune(settings_for(tmp_path), everything=True)
    assert not fetched.path.exists()
    assert tree(view.path) == content


@pytest.mark.framework
@pytest.mark.slow
def test_a_training_on_a_view_leaves_the_cache_as_it_was(tmp_path: Path):
    image = pytest.importorskip("PIL.Image")
    ultralytics = pytest.importorskip("ultralytics")
    folder = tmp_path / "store/datasets/ds_1"
    for number in range(4):
        path = folder / f"images/{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.effect_noise((64, 64), 50 + number).convert("RGB").save(path, "JPEG")
    broken = folder / "images/0.jpg"
    broken.write_bytes(broken.read_bytes() + bytes(2))  # Ultralytics writes such a file anew
    fetched = datasets.fetch("ds_1", whole=True, settings=settings_for(tmp_path))
    before = tree(fetched.path)
    view = fetched.link_into(tmp_path / "job")
    for number in range(4):
        write(view.path / f"labels/{number}.txt", b"0 0.5 0.5 0.4 0.4\n")
    write(tmp_path / "data.yaml", f"path: {view.path}\ntrain: images\nval: images\nnames: [thing]\n".encode())

    model = ultralytics.YOLO(Path(__file__).parents[1] / "assets/micro.yaml")
    model.train(
        data=tmp_path / "data.yaml", epochs=1, imgsz=64, batch=2, workers=0, device="cpu", plots=False,
        cache="disk", project=tmp_path / "runs", verbose=False,
    )  # fmt: skip

    assert (view.path / "images/0.jpg").read_bytes() != before["images/0.jpg"]  # it did
    assert list(view.path.glob("**/*.npy"))
    assert tree(fetched.path) == before

"""What is found in folders: names, files, and links."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.datasets.trees import jpeg, put
from trainer_hooks import datasets
from trainer_hooks.datasets.formats._layout import content_of, walk
from trainer_hooks.datasets.report import Report, Reporter
from trainer_hooks.errors import DatasetError

TASKS = {"folders": "classification", "labelme": "detection", "yolo": "detection"}


def walked(root: Path) -> tuple[dict[str, list[str]], Report]:
    report = Report(source="", target="", task="")
    return walk(str(root), Reporter(report)), report


def dataset(root: Path) -> Path:
    put(root / "images/a.jpg", jpeg())
    put(root / "images/a.json", b'{"shapes": [{"label": "cat", "shape_type": "rectangle", "points": [[1,1],[9,9]]}]}')
    put(root / "labels/a.txt", b"0 0.5 0.5 0.1 0.1")
    put(root / "data.yaml", b"train: images\nnames: [cat]\n")
    return root


def test_links_to_folders_are_followed(tmp_path: Path):
    put(tmp_path / "elsewhere/deep/1.jpg", b"")
    (tmp_path / "root").mkdir()
    (tmp_path / "root/dog").symlink_to(tmp_path / "elsewhere")

    found, report = walked(tmp_path / "root")

    assert found == {"": [], "dog": [], "dog/deep": ["1.jpg"]}
    assert report.counts == {}


def test_no_folder_is_found_twice_however_links_go_round(tmp_path: Path):
    put(tmp_path / "root/cat/1.jpg", b"")
    put(tmp_path / "elsewhere/2.jpg", b"")
    for link, leads in {
        "root/again": "root/cat",
        "root/cat/round": "root",
        "root/dog": "elsewhere",
        "root/up": ".",
        "elsewhere/round": "elsewhere",
    }.items():
        (tmp_path / link).symlink_to(tmp_path / leads)

    found, report = walked(tmp_path / "root")

    assert sorted(file for files in found.values() for file in files) == ["1.jpg", "2.jpg"]
    assert found["cat"] == ["1.jpg"]
    assert found["dog"] == ["2.jpg"]
    assert report.count_of("told", "a link to a folder that is read anyway") == 5


def test_what_macos_adds_is_passed_over(tmp_path: Path):
    for path in ("cat/1.jpg", "cat/._1.jpg", "__MACOSX/cat/._1.jpg", ".hidden/2.jpg"):
        put(tmp_path / path, b"")

    assert walked(tmp_path)[0] == {"": [], "cat": ["1.jpg"]}


@pytest.mark.skipif(os.geteuid() == 0, reason="everything is open to root")
def test_a_folder_that_is_closed_is_an_error(tmp_path: Path):
    closed = tmp_path / "cat"
    closed.mkdir(mode=0)

    with pytest.raises(DatasetError, match=r"cat can't be read as a folder: Permission denied"):
        walked(tmp_path)


def test_a_file_in_the_place_of_folders_is_an_error(tmp_path: Path):
    put(tmp_path / "x.zip", b"PK")

    with pytest.raises(DatasetError, match=r"x\.zip is a file"):
        datasets.validate(tmp_path / "x.zip", source="folders", task="classification")


@pytest.mark.parametrize("name", [b"caf\xe9.jpg", b"caf\xe9.json", b"caf\xe9/1.jpg"])
def test_a_name_that_is_no_text_is_an_error(tmp_path: Path, name: bytes):
    path = os.fsencode(tmp_path / "images") + b"/" + name
    os.makedirs(os.path.dirname(path))  # noqa: PTH103, PTH120 - only these take bytes
    os.close(os.open(path, os.O_CREAT))

    with pytest.raises(DatasetError, match=r"caf\\xe9.*no UTF-8"):
        walked(tmp_path)


@pytest.mark.parametrize("path", ["images/a.json", "labels/a.txt", "data.yaml", "list.txt"])
@pytest.mark.parametrize("kind", ["fifo", "folder", "dangling"])
def test_what_is_no_file_in_the_place_of_one_is_neither_waited_for_nor_passed_over(
    tmp_path: Path, path: str, kind: str
):
    root = dataset(tmp_path / "source")
    (root / path).unlink(missing_ok=True)
    if path == "list.txt":
        (root / "data.yaml").write_text("train: list.txt\nnames: [cat]\n")
    if kind == "fifo":
        os.mkfifo(root / path)
    elif kind == "folder":
        (root / path).mkdir()
    else:
        (root / path).symlink_to("/nowhere")

    with pytest.raises(DatasetError):
        datasets.convert(
            root,
            source="labelme" if path.endswith("json") else "yolo",
            target="coco",
            task="detection",
            to=tmp_path / "out",
        )


def test_a_file_is_read_whole_however_large_it_is(tmp_path: Path):
    for size in (0, 1, 1 << 16, (1 << 16) + 1, 200_000):
        content = os.urandom(size)
        put(tmp_path / "a", content)
        assert content_of(str(tmp_path / "a")) == content

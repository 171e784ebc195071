"""`trainer-hooks dataset`: what is printed where, exit statuses, and what the options do."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from tests.cli.parts import COMMAND, invoke
from trainer_hooks import datasets
from trainer_hooks.cli.progress import counting, shown_size, transferring

WIDTH, HEIGHT = 64, 48


def make_coco(root: Path, images: int = 10, boxes: dict[int, list[float]] | None = None) -> Path:
    """A COCO dataset of that many images with a cat each; `boxes` are those of some images, by their ids."""
    (root / "images").mkdir(parents=True)
    given: dict[str, list[dict[str, Any]]] = {"images": [], "annotations": []}
    for number in range(1, images + 1):
        Image.new("RGB", (WIDTH, HEIGHT), (number, 0, 0)).save(root / "images" / f"{number}.jpg")
        given["images"].append({"id": number, "file_name": f"{number}.jpg", "width": WIDTH, "height": HEIGHT})
        box = (boxes or {}).get(number, [5, 5, 20, 20])
        given["annotations"].append({"id": number, "image_id": number, "category_id": 1 + number % 2, "bbox": box})
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    (root / "instances.json").write_text(json.dumps({**given, "categories": categories}))
    return root


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    return make_coco(tmp_path / "pets")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A storage in a folder, with the dataset ds_1 in it, and a cache of the test's own."""
    folder = tmp_path / "store"
    dataset = make_coco(folder / "datasets" / "ds_1", images=3)
    (dataset / "instances.json").rename(dataset / "annotations_detection.json")
    monkeypatch.setenv("TRAINER_HOOKS_DATASET_STORAGE", folder.as_uri())
    monkeypatch.setenv("DATASET_CACHE_DIR", str(tmp_path / "cache"))
    return folder


def convert(coco: Path, *more: str) -> Any:
    return invoke("dataset", "convert", str(coco), "--source", "coco", "--target", "yolo", "--task", "detection", *more)


def validate(coco: Path, *more: str) -> Any:
    return invoke("dataset", "validate", str(coco), "--source", "coco", "--task", "detection", *more)


def split_of(data_yaml: str) -> dict[str, list[str]]:
    folder = Path(data_yaml).parent / "images"
    return {split.name: sorted(image.name for image in split.iterdir()) for split in sorted(folder.iterdir())}


def test_convert_prints_the_path_and_nothing_else_on_stdout(coco: Path):
    result = convert(coco)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"{coco.parent / 'pets-yolo-detection' / 'data.yaml'}\n"
    assert "images, 10 objects" in result.stderr


def test_convert_tells_what_it_did_and_why(tmp_path: Path):
    result = convert(make_coco(tmp_path / "pets", boxes={3: [50, 5, 40, 20], 4: [5, 5, 0, 20]}))
    assert "1 clipped: box over the edge" in result.stderr
    assert "3.jpg: annotation 3 clipped: box over the edge" in result.stderr
    assert "4.jpg: annotation 4 dropped: its box has no area" in result.stderr


def test_of_many_findings_the_first_are_told_and_where_all_of_them_are(tmp_path: Path):
    coco = make_coco(tmp_path / "pets", images=15, boxes={number: [5, 5, 0, 0] for number in range(1, 16)})
    result = convert(coco)
    findings = tmp_path / "pets-yolo-detection" / "findings.jsonl"
    assert result.stderr.count("dropped: its box has no area") == 1 + 10
    assert f"… all of them: {findings}" in result.stderr
    assert len(findings.read_text().splitlines()) == 15


def test_all_findings_are_listed_however_many_there_are(coco: Path):
    """Those of the index, too, of which the report itself holds only the first thousand."""
    file = coco / "instances.json"
    content = json.loads(file.read_text())
    content["annotations"] += [{"id": 100 + number, "image_id": 99, "bbox": [1, 1, 2, 2]} for number in range(1100)]
    file.write_text(json.dumps(content))
    made = Path(convert(coco).stdout.strip())
    assert len((made.parent / "findings.jsonl").read_text().splitlines()) == 1100
    assert len(datasets.read_report(made).findings) == 1000


def test_convert_a_second_time_says_that_it_is_done(coco: Path):
    assert convert(coco).stdout == (again := convert(coco)).stdout
    assert "was made of the same before" in again.stderr


def test_convert_as_json_has_the_report(coco: Path, tmp_path: Path):
    told = json.loads(convert(coco, "--to", str(tmp_path / "out"), "--json").stdout)
    assert told["path"] == str(tmp_path / "out" / "data.yaml")
    assert sum(told["report"]["images"].values()) == 10


def test_the_options_of_convert_reach_it(coco: Path, tmp_path: Path):
    names = tmp_path / "names.txt"
    names.write_text("dog\n\n")
    made = convert(
        coco, "--classes", f"@{names}", "--split-ratio", "0.5,0.3,0.2", "--seed", "3", "--workers", "1"
    ).stdout
    assert yaml.safe_load(Path(made.strip()).read_text())["names"] == {0: "dog"}
    split = datasets.Split(ratios=(0.5, 0.3, 0.2), seed=3)
    expected = datasets.split(coco, source="coco", task="detection", split=split)
    assert split_of(made.strip()) == {name: sorted(some) for name, some in expected.items()}


def test_a_missing_image_is_an_error_of_one_line_unless_some_may_be_missing(coco: Path):
    (coco / "images" / "2.jpg").unlink()
    result = convert(coco)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("Error: 2.jpg: there is no such image")
    assert not (coco.parent / "pets-yolo-detection").exists()
    assert convert(coco, "--max-missing", "1").exit_code == 0


def test_what_split_writes_is_what_convert_takes(coco: Path, tmp_path: Path):
    command = ["dataset", "split", str(coco), "--source", "coco", "--task", "detection"]
    file = tmp_path / "splits.json"
    result = invoke(*command, "--split-ratio", "0.6,0.4", "--stratify", "-o", str(file))
    assert (result.exit_code, result.stdout) == (0, "")
    written = json.loads(file.read_text())
    assert (
        result.stderr == f"{list(written.values()).count('train')} train, {list(written.values()).count('val')} val\n"
    )
    made = convert(coco, "--splits", str(file)).stdout.strip()
    assert {name: split for split, some in split_of(made).items() for name in some} == written
    assert json.loads(invoke(*command).stdout).keys() == written.keys()


def test_the_report_of_a_conversion_is_no_part_of_the_dataset_that_it_has_made(coco: Path, tmp_path: Path):
    for target, source, place in (("labelme", "coco", coco), ("yolo", "labelme", tmp_path / "labelme")):
        made = datasets.convert(place, source=source, target=target, task="detection", to=tmp_path / target)
    assert datasets.read_report(made).counts == {}


def test_images_of_one_name_are_told_apart_by_their_files(tmp_path: Path):
    """As in COCO's own layout, where train and val may each have a 1.jpg."""
    train, val = make_coco(tmp_path / "t"), make_coco(tmp_path / "v", images=2)
    root = tmp_path / "both"
    (root / "annotations").mkdir(parents=True)
    for split, folder in (("train", train), ("val", val)):
        (folder / "images").rename(root / split)
        (folder / "instances.json").rename(root / "annotations" / f"instances_{split}.json")
    file = tmp_path / "splits.json"
    invoke("dataset", "split", str(root), "--source", "coco", "--task", "detection", "-o", str(file))
    written = json.loads(file.read_text())
    assert {name: written[name] for name in ("train/1.jpg", "val/1.jpg", "3.jpg")} == {
        "train/1.jpg": "train",
        "val/1.jpg": "val",
        "3.jpg": "train",
    }
    file.write_text(json.dumps(written | {"train/1.jpg": "test"}))
    made = split_of(convert(root, "--splits", str(file)).stdout.strip())
    assert {split: len(some) for split, some in made.items()} == {"train": 9, "val": 2, "test": 1}
    assert made["test"] == ["1.jpg"]


def test_validate_says_by_its_exit_status_whether_there_is_something_to_find(coco: Path, tmp_path: Path):
    clean = validate(coco)
    assert clean.exit_code == 0, clean.output
    assert clean.stdout.endswith("images, 10 objects\n")
    found = validate(make_coco(tmp_path / "bad", boxes={3: [50, 5, 40, 20]}))
    assert found.exit_code == 1
    assert "3.jpg: annotation 3 clipped: box over the edge" in found.stdout
    assert validate(coco, "--json").exit_code == 0
    assert json.loads(validate(coco, "--json").stdout)["classes"] == ["cat", "dog"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad", "pets"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--split-ratio", "eighty"], "--split-ratio can't be 'eighty': write shares, as 0.8,0.2"),
        (["--split-ratio", "0.8"], "ratios can't be (0.8,)"),
        (["--group", "("], "group can't be '('"),
        (["--classes", "@/nowhere"], "--classes names '/nowhere', which can't be read"),
        (["--classes", " , "], "--classes ' , ' names no class"),
        (["--splits", __file__], "must be JSON as"),
        (["--task", "segmentatoin"], "'segmentatoin' is no task"),
        (["--source", "cocoa"], "'cocoa' can't be the source"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_status_2(coco: Path, options: list[str], told: str):
    result = validate(coco, *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert told in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_dataset_that_can_not_be_read_is_told_in_one_line(tmp_path: Path):
    (tmp_path / "torn.json").write_text('{"images": [')
    result = validate(tmp_path)
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: torn.json")


@pytest.mark.usefixtures("store")
def test_fetch_prints_where_the_dataset_is(tmp_path: Path):
    result = invoke("dataset", "fetch", "ds_1")
    assert result.exit_code == 0, result.stderr
    path = Path(result.stdout.strip())
    assert path.is_relative_to(tmp_path / "cache")
    assert sorted(image.name for image in (path / "images").iterdir()) == ["1.jpg", "2.jpg", "3.jpg"]
    assert "4 files" in result.stderr


def test_nothing_is_made_in_the_cache(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What was fetched is converted into the working directory, and a path in the cache needs --to."""
    annotations = store / "datasets" / "ds_1" / "annotations_detection.json"
    annotations.rename(annotations.with_name("annotations.json"))
    monkeypatch.chdir(tmp_path)
    fetched = datasets.fetch("ds_1")
    made = datasets.convert(fetched, source="coco", target="yolo", task="detection")
    assert made == str(tmp_path / "datasets" / "ds_1-yolo-detection" / "data.yaml")
    result = convert(fetched.path)
    assert result.exit_code == 2
    assert "is in the cache, where nothing may be written beside it" in result.stderr


@pytest.mark.usefixtures("store")
def test_fetch_makes_a_folder_of_it_which_can_be_written_to(tmp_path: Path):
    told = json.loads(invoke("dataset", "fetch", "ds_1", "--to", str(tmp_path / "job"), "--json").stdout)
    assert told["path"] == str(tmp_path / "job")
    assert (told["id"], told["files"], told["missing"]) == ("ds_1", 4, [])
    (tmp_path / "job" / "labels").mkdir()


def test_fetch_by_a_list_of_addresses(store: Path, tmp_path: Path):
    image = store / "datasets" / "ds_1" / "images" / "1.jpg"
    label = image.with_name("1.json")
    label.write_text("{}")
    listed = tmp_path / "list.json"
    listed.write_text(json.dumps({"data_summary": [{"img_path": image.as_uri(), "label_path": label.as_uri()}]}))
    result = invoke("dataset", "fetch", "--list", str(listed), "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["format"] == "labelme"
    listed.write_text("[]")
    assert "must be a JSON object" in invoke("dataset", "fetch", "--list", str(listed)).stderr


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (["ds_1"], "DATASET_ID"),
        (["--task", "pose", "--whole"], "--task, --whole"),
        (["--version-hash", "a"], "--version"),
    ],
)
def test_what_has_no_meaning_beside_a_list_is_refused(tmp_path: Path, given: list[str], named: str):
    listed = tmp_path / "list.json"
    listed.write_text("{}")
    result = invoke("dataset", "fetch", "--list", str(listed), *given)
    assert result.exit_code == 2
    assert named in result.stderr


def test_a_folder_in_the_place_of_an_address_is_told_as_one(store: Path, monkeypatch: pytest.MonkeyPatch):
    folder = store / "datasets" / "ds_1"
    monkeypatch.chdir(folder.parent)
    refused = invoke("dataset", "fetch", "--uri", "./ds_1")
    assert refused.exit_code == 2
    assert f"write {folder.as_uri()}" in refused.stderr
    assert "write file:///folder" in invoke("dataset", "fetch", "--uri", "./ds_2").stderr
    assert invoke("dataset", "fetch", "--uri", folder.as_uri().replace("file", "FILE")).exit_code == 0


def test_no_secret_is_told(coco: Path, monkeypatch: pytest.MonkeyPatch):
    secret = "sesame-open-7351"
    monkeypatch.setenv("EXTERNAL_STORAGE_SECRET_KEY", secret)
    made = convert(coco, "--to", str(coco.parent / secret))
    assert "10 objects" in made.stderr
    assert secret not in made.stderr
    assert secret not in invoke("dataset", "fetch", "--uri", f"s3://user:{secret}@bucket/ds").output


def test_a_missing_image_of_a_fetch_is_named(store: Path):
    (store / "datasets" / "ds_1" / "images" / "2.jpg").unlink()
    assert "2.jpg" in (refused := invoke("dataset", "fetch", "ds_1")).stderr
    assert refused.exit_code == 2
    allowed = invoke("dataset", "fetch", "ds_1", "--max-missing", "1")
    assert allowed.exit_code == 0
    assert "missing: " in allowed.stderr


@pytest.mark.usefixtures("store")
def test_the_cache_is_listed_verified_and_pruned(tmp_path: Path):
    assert invoke("dataset", "cache", "ls").stderr == f"no datasets in {tmp_path / 'cache'}\n"
    path = Path(invoke("dataset", "fetch", "ds_1").stdout.strip())
    (line,) = invoke("dataset", "cache", "ls").stdout.splitlines()[1:]
    assert line.split()[:2] == ["ds_1", "4"]
    (entry,) = json.loads(invoke("dataset", "cache", "ls", "--json").stdout)
    assert (entry["dataset_id"], entry["files"], entry["in_use"]) == ("ds_1", 4, False)
    assert invoke("dataset", "cache", "verify").exit_code == 0
    image = path / "images" / "1.jpg"
    image.chmod(0o644)
    image.write_bytes(image.read_bytes()[:-1] + b"\0")
    damaged = invoke("dataset", "cache", "verify")
    assert damaged.exit_code == 1
    assert "images/1.jpg" in damaged.stdout
    invoke("dataset", "fetch", "ds_1")
    assert invoke("dataset", "cache", "prune", "--max-gb", "1").stdout == ""
    assert invoke("dataset", "cache", "prune", "--all").stdout.startswith("removed ds_1, ")
    assert json.loads(invoke("dataset", "cache", "prune", "--json").stdout) == []


def test_on_a_terminal_there_is_a_bar_and_stdout_stays_clean(coco: Path):
    ours, theirs = pty.openpty()
    command = [*COMMAND, "dataset", "convert", str(coco), "--source", "coco", "--target", "yolo", "--task", "detection"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, text=True) as process:
        os.close(theirs)
        shown = "".join(pieces_of(ours))
        assert process.stdout is not None
        assert process.stdout.read().count("\n") == 1
    os.close(ours)
    assert process.returncode == 0
    assert "converting" in shown
    assert "10/10" in shown


def test_what_is_logged_stands_above_the_bar():
    script = """
import logging
from trainer_hooks.cli.dataset_options import telling
from trainer_hooks.cli.progress import transferring
with telling(), transferring("fetching") as tell:
    tell(3, 4000)
    logging.getLogger("trainer_hooks.any").warning("of the log")
"""
    ours, theirs = pty.openpty()
    with subprocess.Popen([sys.executable, "-c", script], stderr=theirs):
        os.close(theirs)
        shown = "".join(pieces_of(ours))
    os.close(ours)
    assert re.search(r"\x1b\[2Kof the log *\r\n", shown), shown  # the bar's line is wiped before
    assert "3 files, 4 kB" in shown


def pieces_of(terminal: int) -> Iterator[str]:
    """What comes out of it, until nobody holds its other end."""
    with contextlib.suppress(OSError):  # how Linux tells the end
        while piece := os.read(terminal, 1 << 12):
            yield piece.decode(errors="replace")


def test_elsewhere_there_is_a_line_now_and_then(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("trainer_hooks.cli.progress._EVERY", 0.0)
    with counting("converting") as tell:
        tell(1000, 20000)
    with transferring("fetching") as tell:
        tell(12, 3_400_000)
    assert capsys.readouterr().err == "converting: 1,000 of 20,000\nfetching: 12 files, 3.4 MB\n"


def test_no_line_is_told_of_what_is_quick(capsys: pytest.CaptureFixture[str]):
    with counting("converting") as tell:
        for done in range(1000):
            tell(done, 1000)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("size", "shown"), [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (999_600, "1 MB"), (2_345_678_901, "2.3 GB")]
)
def test_sizes_are_shown_in_the_unit_that_suits_them(size: int, shown: str):
    assert shown_size(size) == shown

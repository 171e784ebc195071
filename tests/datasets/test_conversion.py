"""A conversion is there whole or not at all, is the same however it is cut, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import errno
import gc
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import unicodedata
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from tests.datasets.trees import (
    beside,
    coco_document,
    coco_tree,
    contents,
    jpeg,
    large_tree,
    numbered,
    png,
    put,
    put_images,
)
from tests.disks import LimitedDisk, small_disk
from tests.waiting import wait_until
from trainer_hooks import datasets
from trainer_hooks.datasets.converting import placing, planning, work
from trainer_hooks.datasets.converting.engines import local
from trainer_hooks.datasets.json_arrays import JsonFile
from trainer_hooks.datasets.output import Output
from trainer_hooks.datasets.pictures import Picture
from trainer_hooks.datasets.report import FINDINGS_NAME, Reporter, read_report
from trainer_hooks.datasets.splitting import Split, split_of_job
from trainer_hooks.errors import DatasetError, InvalidSetting

KILLS = 4
MANY_KILLS = 50
MANY = 2000
PROGRESS = 200  # images between two words of it
COMMAND = """
import sys
from trainer_hooks import datasets
print("begun", flush=True)
datasets.convert(
    sys.argv[1], source="coco", target="yolo", task="detection", to=sys.argv[2], workers=int(sys.argv[3]),
    progress=lambda done, of: print(done, flush=True),
)
print("ended", flush=True)
"""


@pytest.fixture(autouse=True)
def nothing_open() -> Iterator[None]:
    """Neither a file nor a process nor a thread is left."""
    gc.collect()
    files, threads = open_files(), threading.active_count()
    yield
    gc.collect()
    assert open_files() <= files
    assert threading.active_count() <= threads
    assert not children(os.getpid())


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def children(process: int) -> list[int]:
    """The process's children, dead ones that nobody has waited for among them."""
    found = []
    for task in Path(f"/proc/{process}/task").iterdir():
        with contextlib.suppress(OSError):
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def convert(dataset: Path, to: Path, **more: Any) -> Path:
    asked = {"source": "coco", "target": "yolo", "task": "detection"} | more
    return Path(datasets.convert(dataset, to=to, **asked))


def start(source: Path, target: Path, workers: int = 2, program: str = COMMAND) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", program, str(source), str(target), str(workers)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def finish(process: subprocess.Popen[str], timeout: float = 60) -> str:
    """What it has said, both ways."""
    with process:
        said = process.communicate(timeout=timeout)
    return "".join(said)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough to take some hundred milliseconds."""
    return large_tree(tmp_path_factory.mktemp("large") / "source", MANY)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return coco_tree(tmp_path / "source", numbered(12))


# The same, whatever is at work


@pytest.mark.parametrize("target", ["yolo", "coco"])
@pytest.mark.parametrize("task", ["detection", "segmentation", "obb"])
def test_the_same_bytes_come_of_any_number_of_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, task: str
) -> None:
    source = messy_tree(tmp_path / "source")
    made = []
    for images_per_job, workers, bytes_per_chunk in (
        (20_000, 1, 4 << 20),
        (7, 1, 400),
        (1, 1, 4 << 20),
        (20_000, 3, 1),
    ):
        monkeypatch.setattr(planning, "_IMAGES_PER_JOB", images_per_job)
        monkeypatch.setattr(JsonFile.runs, "__defaults__", (bytes_per_chunk,))
        out = tmp_path / "out"
        convert(source, out, target=target, task=task, workers=workers, max_missing=9)
        made.append(contents(out))
        made[-1].pop(".conversion.json")  # of what it was made, and in which chunks that was found
        shutil.rmtree(out)
    for other in made[1:]:
        assert other == made[0]
    assert made[0]["findings.jsonl"].count(b"\n") > 10


def messy_tree(root: Path) -> Path:
    """One with something of everything that is noted."""
    names = [*numbered(30), "a/x.jpg", "a/x.png", "gone.jpg", "broken.jpg"]
    document = coco_document(names)
    for number, annotation in enumerate(document["annotations"]):
        if number % 7 == 0:
            annotation["bbox"][2] = annotation["bbox"][2] * 100
        if number % 11 == 0:
            annotation["category_id"] = 99
        if number % 13 == 0:
            annotation["bbox"] = "no box"
        if number % 17 == 0:
            annotation["image_id"] = 1000
        if number % 19 == 0:
            annotation["image_id"] = ["no", "id"]
    random.Random(1).shuffle(document["annotations"])
    put_images(root, names)
    (root / "images" / "gone.jpg").unlink()
    (root / "images" / "broken.jpg").write_bytes(b"no picture")
    put(root / "annotations.json", json.dumps(document).encode())
    return root


def test_the_order_in_which_jobs_are_done_makes_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = messy_tree(tmp_path / "source")
    monkeypatch.setattr(planning, "_IMAGES_PER_JOB", 3)
    jobs = planning.Plan.jobs
    made = []
    for turned in (False, True):
        with monkeypatch.context() as patch:
            if turned:
                patch.setattr(planning.Plan, "jobs", lambda plan, workers: jobs(plan, workers)[::-1])
            convert(source, tmp_path / "out", target="coco", max_missing=9, workers=1)
        made.append(contents(tmp_path / "out"))
        shutil.rmtree(tmp_path / "out")
    assert made[0] == made[1]


def test_progress_ends_with_all_images(small: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    convert(small, tmp_path / "out", workers=2, progress=lambda done, of: told.append((done, of)))
    assert told[-1] == (12, 12)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


# Whole or not at all


def kill_after(source: Path, target: Path, images: int, share: float, workers: int) -> None:
    """Kill a conversion, and nothing else, when so many images are done and a share of the time of the last ones more.

    So the moments are as many on a slow machine as on a fast one.
    """
    before = now = time.monotonic()
    process = start(source, target, workers)
    assert process.stdout is not None
    for line in map(str.strip, process.stdout):
        before, now = now, time.monotonic()
        done = {"begun": 0, "ended": MANY}.get(line)
        if (int(line) if done is None else done) >= images:
            break
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(share * (now - before))
    process.kill()
    finish(process)


def group_is_gone(process: int) -> bool:
    try:
        os.killpg(process, 0)
    except ProcessLookupError:
        return True
    return False


def kill_at_random(source: Path, tmp_path: Path, seed: int) -> bool:
    """Whether it was killed before it was done; what is left is whole, and the next run clears it up."""
    chance = random.Random(seed)
    target = tmp_path / "out" / "made"
    target.parent.mkdir()
    kill_after(source, target, chance.randrange(0, MANY + 1, PROGRESS), chance.random(), chance.choice([1, 2]))
    was_done = target.exists()
    if was_done:
        assert is_whole(target)
    convert(source, target, workers=1)
    assert is_whole(target)
    assert beside(target) == set()
    return not was_done


def is_whole(target: Path) -> bool:
    images = {path.stem for path in target.glob("images/*/*.jpg")}
    labels = {path.stem for path in target.glob("labels/*/*.txt")}
    named = yaml.safe_load((target / "data.yaml").read_text())
    return len(images) == MANY and images == labels and named["nc"] == 2 and (target / "report.json").exists()


@pytest.mark.parametrize("seed", range(KILLS))
def test_a_conversion_that_is_killed_leaves_all_or_nothing(large: Path, tmp_path: Path, seed: int) -> None:
    kill_at_random(large, tmp_path, seed)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_many_conversions_that_are_killed_leave_all_or_nothing(large: Path, tmp_path: Path) -> None:
    killed = []
    for seed in range(100, 100 + MANY_KILLS):
        folder = tmp_path / str(seed)
        folder.mkdir()
        killed.append(kill_at_random(large, folder, seed))
        shutil.rmtree(folder)
    assert sum(killed) > MANY_KILLS / 2


def test_what_a_killed_conversion_was_building_is_not_built_on_by_its_workers(large: Path, tmp_path: Path) -> None:
    target = tmp_path / "out" / "made"
    process = start(large, target, 2)
    wait_until(lambda: list(target.parent.glob(".made.*.partial/labels/*/*.txt")), what="a label")
    process.kill()
    finish(process)
    wait_until(lambda: group_is_gone(process.pid), 5, "the workers' end")
    assert not target.exists()


def test_what_is_left_over_goes_while_somebody_still_writes_into_it(small: Path, tmp_path: Path) -> None:
    target = tmp_path / "out" / "made"
    leftover = target.parent / f".made.{'0' * 16}.partial"
    put(leftover / "labels" / "train" / "0.txt", b"")
    (leftover / ".pieces").mkdir()
    asked = planning.Asked("coco", "yolo", "detection", None, None, 0)
    plan = planning.Plan.make(small, asked, str(target))
    plan.write_to(leftover)
    output = Output(plan.jobs(1)[0])

    def write() -> None:
        with pytest.raises(FileNotFoundError):  # noqa: PT012 - which of them is the first to fail is chance
            for number in range(100_000):  # some seconds; without an end, a failure would have none
                output.save(f"labels/train/{number}.txt", b"")
        with pytest.raises(FileNotFoundError):
            output.save("labels/val/0.txt", b"")

    with ThreadPoolExecutor() as pool:
        written = pool.submit(write)
        wait_until((leftover / "labels" / "train" / "99.txt").exists, what="a label")
        convert(small, target)
        written.result(30)
    assert beside(target) == set()


def test_what_is_left_over_goes_though_a_last_file_comes_while_it_is_removed(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out" / "made"
    put(target.parent / f".made.{'0' * 16}.partial" / "labels" / "0.txt", b"")
    late, rmdir = ["late.txt"], os.rmdir

    def after_a_last_file(path: str, *, dir_fd: int | None = None) -> None:
        if late:
            os.close(os.open(f"{path}/{late.pop()}", os.O_WRONLY | os.O_CREAT, dir_fd=dir_fd))
        rmdir(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "rmdir", after_a_last_file)
    convert(small, target)
    assert not late
    assert beside(target) == set()


def test_a_worker_ends_in_the_middle_of_a_job_when_nobody_is_there_any_more(small: Path, tmp_path: Path) -> None:
    asked = planning.Asked("coco", "yolo", "detection", None, None, 0)
    plan = planning.Plan.make(small, asked, str(tmp_path / "out"))
    plan.whole.staging = str(tmp_path / "staging")
    plan.whole.pieces.mkdir(parents=True)
    (job,) = plan.jobs(1)
    # What it would write into first: nobody reads it, so the job never goes on.
    os.mkfifo(plan.whole.pieces / f"{job.number:05}-{FINDINGS_NAME}")
    answers = os.open(os.devnull, os.O_WRONLY)
    program = f"from trainer_hooks.datasets.converting.worker import main; main({answers})"
    worker = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, pass_fds=[answers])
    os.close(answers)
    assert worker.stdin is not None
    local.send(worker.stdin, msgspec.msgpack.encode(job))
    worker.stdin.close()
    try:
        assert worker.wait(30) == 0
    finally:
        worker.kill()


def test_a_killed_worker_is_a_clear_error_and_leaves_nothing(large: Path, tmp_path: Path) -> None:
    target = tmp_path / "out" / "made"
    process = start(large, target, 2)
    wait_until(lambda: list(target.parent.glob(".made.*.partial/labels/*/*.txt")), what="a label")
    os.kill(children(process.pid)[0], signal.SIGKILL)
    said = finish(process)
    assert "DatasetError: a process of the conversion ended by signal 9; is there enough memory?" in said
    assert not target.exists()
    assert beside(target) == set()


def test_ctrl_c_ends_the_workers_and_leaves_nothing(large: Path, tmp_path: Path) -> None:
    target = tmp_path / "out" / "made"
    process = start(large, target, 2)
    wait_until(lambda: list(target.parent.glob(".made.*.partial/labels/*/*.txt")), what="a label")
    os.killpg(process.pid, signal.SIGINT)
    said = finish(process)
    assert said.rstrip().endswith("KeyboardInterrupt")
    assert process.returncode in (-signal.SIGINT, 130)
    wait_until(lambda: group_is_gone(process.pid), 5, "the workers' end")
    assert not target.exists()
    assert beside(target) == set()


def test_a_full_disk_is_told_and_leaves_nothing(large: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        target = disk.path / "made"
        for workers in (1, 2):
            disk.fill()
            with pytest.raises(OSError) as caught:  # noqa: PT012 - the disk is freed in any case
                try:
                    convert(large, target, workers=workers)
                finally:
                    disk.free()
            assert caught.value.errno in (errno.ENOSPC, errno.EFBIG)
            assert not target.exists()
            assert beside(target) <= {"ballast"}
        convert(large, target)
        assert is_whole(target)


def test_a_folder_that_cant_be_written_is_told(small: Path, tmp_path: Path) -> None:
    target = tmp_path / "file" / "made"
    put(target.parent, b"a file where a folder should be")
    with pytest.raises(OSError) as caught:
        convert(small, target)
    assert str(target.parent) in str(caught.value)


@pytest.mark.parametrize("content", ["folder", "file"])
def test_what_no_conversion_has_made_is_not_touched(small: Path, tmp_path: Path, content: str) -> None:
    target = tmp_path / "out"
    mine = put(target / "mine.txt" if content == "folder" else target, b"mine")
    with pytest.raises(DatasetError, match="no conversion has made it"):
        convert(small, target)
    assert mine.read_bytes() == b"mine"


@pytest.mark.parametrize("to", [".", "..", "made", "images/made"])
def test_neither_the_source_nor_what_holds_it_nor_what_it_holds_is_the_target(small: Path, to: str) -> None:
    before = contents(small)
    with pytest.raises(InvalidSetting, match="name a folder outside of the dataset"):
        convert(small, small / to)
    assert contents(small) == before


def test_a_dataset_in_a_conversion_is_not_replaced_by_its_own(small: Path, tmp_path: Path) -> None:
    convert(small, tmp_path / "out")
    mine = coco_tree(tmp_path / "out" / "mine", numbered(12))
    before = contents(tmp_path / "out")
    with pytest.raises(InvalidSetting, match="holds the dataset"):
        convert(mine, tmp_path / "out")
    with pytest.raises(InvalidSetting, match="holds the dataset"):
        convert(tmp_path / "out", tmp_path / "out", source="yolo", target="coco")
    assert contents(tmp_path / "out") == before


def test_what_a_data_yaml_names_elsewhere_is_not_replaced_either(small: Path, tmp_path: Path) -> None:
    convert(small, tmp_path / "out")
    named = put(tmp_path / "mine" / "data.yaml", f"train: {tmp_path}/out/images\nnames: [cat, dog]\n".encode())
    with pytest.raises(InvalidSetting, match="is part of the dataset"):
        convert(named, tmp_path / "out", source="yolo", target="coco")


def test_a_hidden_folder_in_the_dataset_may_become_the_target(small: Path) -> None:
    assert convert(small, small / ".converted" / "yolo").exists()
    assert unchanged(small, small / ".converted" / "yolo")


def test_what_a_training_has_put_into_a_conversion_is_not_removed_with_it(small: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    convert(small, target)
    put(target / "labels.cache", b"of Ultralytics")
    convert(small, target, split=Split(seed=7))
    best = put(target / "runs" / "best.pt", b"mine")
    assert unchanged(small, target, split=Split(seed=7))
    with pytest.raises(DatasetError, match="no conversion has made runs in it"):
        convert(small, target, split=Split(seed=8))
    assert best.read_bytes() == b"mine"


def test_what_comes_while_a_conversion_is_at_work_is_not_removed(small: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    with pytest.raises(DatasetError, match="no conversion has made it"):
        convert(small, target, progress=lambda *_: put(target / "mine.txt", b"mine"))
    assert contents(target) == {"mine.txt": b"mine"}


def test_where_nothing_can_be_written_the_folder_is_named_with_the_mend(small: Path) -> None:
    with pytest.raises(InvalidSetting, match=r"/sys/.*made can't be made: .* name another folder, as `to`"):
        convert(small, Path("/sys/kernel/made"))


def test_an_empty_folder_may_become_the_target(small: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert convert(small, tmp_path / "out").exists()


def test_of_two_at_once_one_makes_it_and_the_other_finds_it(large: Path, tmp_path: Path) -> None:
    target = tmp_path / "out" / "made"
    said = COMMAND.replace("import sys", "import sys, logging; logging.basicConfig(level='INFO', stream=sys.stdout)")
    processes = [start(large, target, 1, said) for _ in range(3)]
    outputs = [finish(process) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], outputs
    assert sum("was made of the same before" in output for output in outputs) == 2
    assert is_whole(target)
    assert beside(target) == set()


def test_neighbours_with_names_that_begin_alike_leave_each_other_alone(small: Path, tmp_path: Path) -> None:
    with placing.Place(tmp_path / "made.v2").staging() as staging:
        convert(small, tmp_path / "made")
        assert staging.exists()


# Classes that can't be


@pytest.mark.parametrize("classes", ["cat", ["cat", "cat"]])
def test_classes_are_a_list_of_different_names(small: Path, tmp_path: Path, classes: Any) -> None:
    with pytest.raises(InvalidSetting, match=r"classes (can't be|names) 'cat'"):
        convert(small, tmp_path / "out", classes=classes)


@pytest.mark.parametrize("source", ["coco", "yolo"])
def test_classes_that_the_dataset_has_not_are_named_with_those_it_has(small: Path, tmp_path: Path, source: str) -> None:
    dataset = small if source == "coco" else convert(small, tmp_path / "yolo").parent
    with pytest.raises(DatasetError, match=r"has no class 'Cat': .*\('cat', 'dog'\)"):
        convert(dataset, tmp_path / "out", source=source, target="dice", classes=["Cat", "dog"])


# Nothing to train on


def said_to_be(split: str | None, count: int = 12) -> Split:
    return Split(assign=dict.fromkeys(numbered(count), split))


def test_a_dataset_that_leaves_nothing_to_train_on_is_refused_and_not_clean(small: Path, tmp_path: Path) -> None:
    split = said_to_be("val")
    with pytest.raises(DatasetError, match="leaves no image to train on"):
        convert(small, tmp_path / "out", split=split)
    assert not (tmp_path / "out").exists()
    assert not datasets.validate(small, source="coco", task="detection", split=split).is_clean
    assert datasets.validate(small, source="coco", task="detection").is_clean


def test_where_all_images_are_dropped_on_the_way_nothing_is_made(small: Path, tmp_path: Path) -> None:
    for image in (small / "images").iterdir():
        image.unlink()
    with pytest.raises(DatasetError, match="leaves no image to train on"):
        convert(small, tmp_path / "out", max_missing=12)
    assert not (tmp_path / "out").exists()


def test_a_val_that_loses_its_last_image_on_the_way_is_told(small: Path, tmp_path: Path) -> None:
    (small / "images" / "00003.jpg").unlink()
    split = Split(assign=dict.fromkeys(numbered(12), "train") | {"00003.jpg": "val"})
    made = convert(small, tmp_path / "out", split=split, max_missing=1)
    told = "no image is in val: validation is done on the training images"
    assert datasets.read_report(made).counts["told"] == {told: 1}
    assert told in (made.parent / "findings.jsonl").read_text()


def test_an_image_of_another_size_is_told_as_what_is_done_with_it(small: Path, tmp_path: Path) -> None:
    (small / "images" / "00003.jpg").write_bytes(jpeg(100, 100))
    made = convert(small, tmp_path / "out")
    (finding,) = datasets.read_report(made).findings
    assert finding.reason == "size of the image: its annotations are taken as pixels of the image as it is"
    assert finding.detail == "said to be 64 x 48, is 100 x 100"


# Once is enough


def unchanged(source: Path, target: Path, **more: Any) -> bool:
    """Whether converting again leaves what is there as it is."""
    before = target.stat().st_ino
    convert(source, target, **more)
    return target.stat().st_ino == before


def test_the_second_time_nothing_is_done(small: Path, tmp_path: Path) -> None:
    assert convert(small, tmp_path / "out") == convert(small, tmp_path / "out")
    assert unchanged(small, tmp_path / "out")
    assert unchanged(small, tmp_path / "out", workers=2)


def test_the_second_time_nothing_is_done_beside_one_file_of_annotations_either(small: Path) -> None:
    asked = {"source": "coco", "target": "yolo", "task": "detection"}
    made = Path(datasets.convert(small / "annotations.json", **asked)).parent
    assert made.parent == small
    before = made.stat().st_ino
    datasets.convert(small / "annotations.json", **asked)
    assert made.stat().st_ino == before


def test_a_dataset_given_as_a_dot_is_converted_beside_itself(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(small)
    made = datasets.convert(".", source="coco", target="yolo", task="detection")
    assert made == str(small.with_name("source-yolo-detection") / "data.yaml")


def image_changes_in_place(source: Path) -> None:
    (source / "images" / "00003.jpg").write_bytes(jpeg(100, 100))


def image_goes(source: Path) -> None:
    (source / "images" / "00003.jpg").unlink()


def annotations_change(source: Path) -> None:
    document = json.loads((source / "annotations.json").read_text())
    document["annotations"].pop()
    (source / "annotations.json").write_text(json.dumps(document))


@pytest.mark.parametrize("change", [image_changes_in_place, image_goes, annotations_change])
def test_a_source_that_has_changed_is_converted_anew(small: Path, tmp_path: Path, change: Any) -> None:
    convert(small, tmp_path / "out", max_missing=1)
    change(small)
    assert not unchanged(small, tmp_path / "out", max_missing=1)
    assert beside(tmp_path / "out") == {"source", "trainer_runs"} & beside(tmp_path / "out")


def test_another_split_is_another_conversion(small: Path, tmp_path: Path) -> None:
    convert(small, tmp_path / "out")
    assert not unchanged(small, tmp_path / "out", split=Split(seed=7))


def test_another_split_or_other_classes_have_another_place(small: Path) -> None:
    asked: dict[str, Any] = {"source": "coco", "target": "yolo", "task": "detection"}
    chosen: list[dict[str, Any]] = [{}, {"split": Split(seed=7)}, {"split": Split(seed=8)}, {"classes": ["dog"]}]
    made = [datasets.convert(small, **asked, **one) for one in chosen]
    assert len(set(made)) == len(made)
    assert made == [datasets.convert(small, **asked, **one) for one in chosen]


def test_a_change_of_a_file_that_tells_of_no_image_first_is_seen(small: Path, tmp_path: Path) -> None:
    document = json.loads((small / "annotations.json").read_text())
    (small / "annotations.json").unlink()
    for name in "ab":
        put(small / "annotations" / f"{name}.json", json.dumps(document).encode())
    convert(small, tmp_path / "out")
    # As long as before, and in the same places.
    text = json.dumps(document).replace('"category_id": 2', '"category_id": 1')
    put(small / "annotations" / "b.json", text.encode())
    assert not unchanged(small, tmp_path / "out")


def test_a_conversion_that_lacks_what_a_trainer_is_given_is_done_anew(small: Path, tmp_path: Path) -> None:
    convert(small, tmp_path / "out").unlink()
    assert convert(small, tmp_path / "out").exists()


def test_what_was_there_stays_when_its_conversion_anew_fails(small: Path, tmp_path: Path) -> None:
    convert(small, tmp_path / "out")
    before = contents(tmp_path / "out")
    image_goes(small)
    with pytest.raises(DatasetError, match=r"00003\.jpg"):
        convert(small, tmp_path / "out")
    # The image is a link: what is gone from the source is still here.
    assert contents(tmp_path / "out") == before


# Wherever it is called from


def test_a_script_needs_no_guard_of_its_main_part(large: Path, tmp_path: Path) -> None:
    script = put(tmp_path / "mine" / "train.py", COMMAND.encode())
    # Files named as modules of Python's, where the script lies and where it is started.
    command = [sys.executable, str(script), str(large), str(tmp_path / "out"), "2"]
    put(tmp_path / "here" / "queue.py", b"raise SystemExit('not this one')")
    done = subprocess.run(command, cwd=tmp_path / "here", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.count("begun"), done.stdout.count("ended")) == (0, 1, 1), done.stderr


def test_it_works_in_a_daemon_thread(large: Path, tmp_path: Path) -> None:
    thread = threading.Thread(target=convert, args=(large, tmp_path / "out"), kwargs={"workers": 2}, daemon=True)
    thread.start()
    thread.join(60)
    assert is_whole(tmp_path / "out")


def test_a_progress_that_fails_ends_the_conversion(large: Path, tmp_path: Path) -> None:
    def fail(done: int, of: int) -> None:
        message = f"{done} of {of} is too much"
        raise ZeroDivisionError(message)

    for workers in (1, 2):
        with pytest.raises(ZeroDivisionError):
            convert(large, tmp_path / "out", workers=workers, progress=fail)
        assert not (tmp_path / "out").exists()


def test_what_a_worker_raises_is_what_is_raised_here(large: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(large, source, copy_function=os.link)
    (source / "images" / "01999.jpg").unlink()
    for workers in (1, 2):
        with pytest.raises(DatasetError, match=r"01999\.jpg: there is no such image in .*max_missing"):
            convert(source, tmp_path / "out", workers=workers)
        assert not (tmp_path / "out").exists()


# Names


def images_of(made: Path) -> set[str]:
    train = made.parent / "images" / "train"
    return {str(path.relative_to(train)) for path in train.rglob("*.*") if path.suffix != ".txt"}


def all_in_train(names: list[str]) -> Split:
    return Split(assign=dict.fromkeys(names, "train"))


def labels_as_ultralytics_finds_them(made: Path) -> list[str]:
    img2label_paths = pytest.importorskip("ultralytics.data.utils").img2label_paths
    train = str(made.parent / "images" / "train")
    return [path for path in img2label_paths([f"{train}/{name}" for name in images_of(made)]) if Path(path).exists()]


NAMES = [
    ["a.jpg", "a.png"],
    ["x/1.jpg", "y/1.jpg"],
    ["a.jpg", "A.jpg", "b/A.JPG"],
    ["images/a.jpg", "labels/a.jpg", "myimages/a.jpg", "images/images/a.jpg"],
    ["with space.jpg", "dots.in.name.jpg", "trailing .jpg", "#hash.jpg", "per%cent.jpg", "[x].jpg"],
    ["größe.jpg", "日本語/画像.jpg", "🙂.jpg", unicodedata.normalize("NFD", "größe.jpg"), "STRASSE.jpg", "straße.jpg"],
    ["n" * 251 + ".jpg", "n" * 251 + ".png", "ß" * 125 + ".jpg", "ß" * 125 + ".png"],
    ["a-png.jpg", "a.jpg", "a.png"],
]


@pytest.mark.parametrize("names", NAMES, ids=lambda names: names[0][:20])
def test_no_two_images_share_a_name_or_a_label(tmp_path: Path, names: list[str]) -> None:
    source = coco_tree(tmp_path / "source", names)
    made = convert(source, tmp_path / "out", split=all_in_train(names))
    assert len(images_of(made)) == len(names)
    labels = labels_as_ultralytics_finds_them(made)
    assert len(set(labels)) == len(names)
    assert all(len(Path(label).read_text().splitlines()) == 3 for label in labels)
    folded = {unicodedata.normalize("NFC", label).casefold() for label in labels}
    assert len(folded) == len(names)


def test_ultralytics_sees_every_image(tmp_path: Path) -> None:
    BaseDataset = pytest.importorskip("ultralytics.data.base").BaseDataset  # noqa: N806 - a class
    names = [name for some in NAMES for name in some if "/" not in name] + [".hidden.jpg", ".folder/a.jpg"]
    names = list(dict.fromkeys(names))
    made = convert(coco_tree(tmp_path / "so[ur]ce", names), tmp_path / "o[u]t", split=all_in_train(names))
    reader = BaseDataset.__new__(BaseDataset)
    reader.fraction, reader.prefix = 1.0, ""
    assert len(reader.get_img_files(str(made.parent / "images" / "train"))) == len(names)


@pytest.mark.parametrize(
    "name",
    [
        *("../a.jpg", "/etc/a.jpg", "a/../../b.jpg", "C:\\a.jpg", "..\\a.jpg"),
        *("a\0.jpg", "a\n.jpg", "a//b.jpg", "a/", ".", "n" * 252 + ".jpg"),
    ],
)
def test_a_name_that_leads_elsewhere_ends_the_conversion(tmp_path: Path, name: str) -> None:
    source = tmp_path / "source"
    put(source / "annotations.json", json.dumps(coco_document([name])).encode())
    with pytest.raises(DatasetError, match="can't be the name of a file"):
        convert(source, tmp_path / "out")
    assert beside(tmp_path / "out") - {"trainer_runs"} == {"source"}


# Images


def test_a_jpeg_that_a_trainer_would_mend_is_copied_and_others_are_linked(small: Path, tmp_path: Path) -> None:
    broken = small / "images" / "00001.jpg"
    broken.write_bytes(jpeg()[:-2])
    made = convert(small, tmp_path / "out", split=all_in_train(numbered(12)))
    train = made.parent / "images" / "train"
    assert (train / "00001.jpg").stat().st_ino != broken.stat().st_ino
    assert (train / "00001.jpg").read_bytes() == broken.read_bytes()
    assert (train / "00002.jpg").stat().st_ino == (small / "images" / "00002.jpg").stat().st_ino


def test_an_image_that_is_a_link_is_linked_where_it_leads(small: Path, tmp_path: Path) -> None:
    blob = put(small / "blobs" / "b1", png())
    (small / "images" / "00001.jpg").unlink()
    (small / "images" / "00001.jpg").symlink_to("../blobs/b1")
    made = convert(small, tmp_path / "out", split=all_in_train(numbered(12)))
    image = made.parent / "images" / "train" / "00001.jpg"
    assert not image.is_symlink()
    assert image.stat().st_ino == blob.stat().st_ino


def test_an_image_never_takes_the_place_of_another(small: Path, tmp_path: Path) -> None:
    plan = planning.Plan.make(small, planning.Asked("coco", "yolo", "detection", None, None, 0), str(tmp_path / "out"))
    at_work = work._Work(plan.jobs(1)[0], Reporter(plan.report))
    for image in (small / "images" / "00001.jpg", small / "images" / "00002.jpg"):
        target = put(tmp_path / image.name, b"another")
        with pytest.raises(DatasetError, match="would take the place of another image"):
            at_work._put(str(image), str(target), Picture(1, 1, is_whole=image.stem == "00001"))
        assert target.read_bytes() == b"another"


def test_where_there_are_no_links_images_are_copied(small: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        if isinstance(disk, LimitedDisk):
            pytest.skip("nothing can be mounted here")
        made = convert(small, disk.path / "out", split=all_in_train(numbered(12)))
        image = made.parent / "images" / "train" / "00001.jpg"
        assert image.stat().st_nlink == 1
        assert image.read_bytes() == (small / "images" / "00001.jpg").read_bytes()


def is_a_fifo(path: Path) -> None:
    os.mkfifo(path)


def is_a_folder(path: Path) -> None:
    path.mkdir()


def is_a_link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


def is_a_gif(path: Path) -> None:
    path.write_bytes(b"GIF89a\x10\0\x10\0\x80\0\0\0\0\0\xff\xff\xff!\xf9\4\1\0\0\0\0,\0\0\0\0\1\0\1\0\0\2\2D\1\0;")


def is_empty(path: Path) -> None:
    path.write_bytes(b"")


def is_a_bomb(path: Path) -> None:
    head = bytearray(png())
    head[16:24] = (60000).to_bytes(4, "big") * 2
    path.write_bytes(head)


@pytest.mark.parametrize("change", [is_a_fifo, is_a_folder, is_a_link_to_itself, is_a_gif, is_empty, is_a_bomb])
def test_an_image_that_no_trainer_can_read_counts_as_missing(small: Path, tmp_path: Path, change: Any) -> None:
    path = small / "images" / "00001.jpg"
    path.unlink()
    change(path)
    with pytest.raises(DatasetError, match=r"00001\.jpg"):
        convert(small, tmp_path / "out")
    made = convert(small, tmp_path / "out", max_missing=1)
    assert datasets.read_report(made).counts["missing"] == {"image that can be read": 1}


def test_a_fifo_in_the_place_of_the_annotations_is_no_json(tmp_path: Path) -> None:
    root = tmp_path / "in"
    root.mkdir()
    os.mkfifo(root / "annotations.json")
    with pytest.raises(DatasetError, match=r"annotations\.json"):
        convert(root, tmp_path / "out")


# Splits that can't be


@pytest.mark.parametrize(
    "wrong",
    [
        {"group": "("},
        {"ratios": (1.0,)},
        {"ratios": (0.0, 0.0)},
        {"ratios": (float("nan"), 1.0)},
        {"ratios": (float("inf"), 1.0)},
        {"ratios": (-1.0, 2.0)},
        {"assign": {"a": "elsewhere"}},
    ],
    ids=str,
)
def test_a_split_that_cant_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidSetting):
        Split(**wrong)


@pytest.mark.parametrize(
    "config",
    [{"splits": ["a"]}, {"splits": 7}, {"ratio": "half"}, {"ratio": {"train": None}}, {"seed": []}, {"group_by": 3}],
    ids=str,
)
def test_a_split_config_that_cant_be_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(InvalidSetting):
        split_of_job(config)


def test_a_group_that_is_not_in_the_name_is_no_trouble(small: Path, tmp_path: Path) -> None:
    made = convert(small, tmp_path / "out", split=Split(group=r"0000(1)?"))
    assert sum(read_report(made).images.values()) == len(list((small / "images").iterdir()))

"""Which image trains, validates and tests: who decides, what stays where it is, and that no split is empty unsaid."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer_hooks.datasets.converting.dividing import Division
from trainer_hooks.datasets.model import Entry
from trainer_hooks.datasets.report import Report, Reporter
from trainer_hooks.datasets.splitting import Split, split_of_job
from trainer_hooks.errors import DatasetError, InvalidSetting

NAMES = st.lists(st.text("abcdefgh/0123456789", min_size=1, max_size=12), min_size=1, max_size=40, unique=True)
RATIOS = st.sampled_from([(0.8, 0.2), (0.5, 0.5), (0.7, 0.2, 0.1), (1.0, 0.0), (8, 2)])


def entries(names: Sequence[str], **fields: Any) -> list[Entry]:
    return [Entry(name, f"images/{name}", number, **fields) for number, name in enumerate(names, 1)]


def divide(
    of: Sequence[Entry],
    split: Split | None = None,
    declared: Split | None = None,
    labels: Sequence[tuple[int, ...]] = (),
) -> tuple[dict[str, str], Report]:
    report = Report(source="coco", target="yolo", task="detection")
    found = Division(split, declared, Reporter(report)).of(of, labels)
    assert len(found) == len(of)
    return {entry.name: one for entry, one in zip(of, found, strict=True)}, report


def numbered(count: int) -> list[str]:
    return [f"{number:04}.jpg" for number in range(count)]


def test_the_job_decides_before_the_file_the_file_before_the_image_and_a_hash_last():
    images = entries(["a", "b", "c", *numbered(50)])
    images[0].split = images[1].split = images[2].split = "test"
    declared = Split(assign={"a": "train", "b": "train"})
    found, _ = divide(images, Split(assign={"a": "val"}), declared)
    assert (found["a"], found["b"], found["c"]) == ("val", "train", "test")
    assert set(found.values()) == {"train", "val", "test"}


@pytest.mark.parametrize("nothing", [None, "none", "None", ""])
def test_none_says_nothing_and_the_next_one_decides(nothing):
    images = entries(["a", *numbered(20)])
    images[0].split = "test"
    assert divide(images, Split(assign={"a": nothing}))[0]["a"] == "test"
    images[0].split = nothing
    assert divide(images)[0]["a"] == divide(entries(["a", *numbered(20)]))[0]["a"]


@pytest.mark.parametrize("key", [7, "7", "train/good/7.png", "7.png"])
def test_an_image_is_assigned_by_its_id_as_number_or_text_its_name_or_the_last_part_of_it(key):
    images = [Entry("train/good/7.png", "x", 7), *entries(numbered(5))[:4]]
    assert divide(images, Split(assign={key: "test"}))[0]["train/good/7.png"] == "test"


def test_the_last_part_of_a_name_means_the_image_that_has_nothing_else_in_its_name():
    images = entries(["a/1.png", "1.png", "b/2.png"])
    found, _ = divide(images, Split(assign={"1.png": "test", "a/1.png": "train", "2.png": "val"}))
    assert found == {"a/1.png": "train", "1.png": "test", "b/2.png": "val"}
    found, report = divide(images, Split(assign={"1.png": "test"}, seed=1))
    assert found["1.png"] == "test"
    assert found["a/1.png"] != "test"
    assert report.count_of("told", "images are assigned to a split that aren't in the dataset") == 0


@pytest.mark.parametrize("key", ["1.png", "7"])
def test_what_means_two_images_is_assigned_to_neither(key):
    images = [Entry("a/1.png", "images/a/1.png", 7), Entry("b/1.png", "images/b/1.png", 7), *entries(["c"])]
    with pytest.raises(InvalidSetting, match=r"means both images/a/1\.png and images/b/1\.png"):
        divide(images, Split(assign={key: "val"}))
    with pytest.raises(DatasetError, match=r"means both images/a/1\.png and images/b/1\.png"):
        divide(images, declared=Split(assign={key: "val"}))


def test_an_id_that_is_a_whole_number_is_found_whichever_way_it_is_written():
    assert divide([Entry("a", "a", 1.0), *entries(["z", "b", "c"])[1:]], Split(assign={"1": "test"}))[0]["a"] == "test"


def test_an_assignment_of_images_that_are_not_there_is_told_and_names_some():
    _, report = divide(entries(numbered(10)), Split(assign={"gone-1": "val", "gone-2": "val", "0001.jpg": "val"}))
    told = [finding for finding in report.findings if "aren't in the dataset" in finding.reason]
    assert [finding.detail for finding in told] == ["gone-1, gone-2"]


def test_a_split_of_no_known_name_is_told_and_says_nothing():
    images = entries(numbered(10))
    images[3].split = "holdout"
    found, report = divide(images)
    assert found == divide(entries(numbered(10)))[0]
    assert report.count_of("told", "it has a split of no known name") == 1


def test_by_hash_passes_over_what_the_file_and_the_images_say_but_not_the_job():
    images = entries(numbered(60), split="test")
    assert set(divide(images)[0].values()) == {"test"}
    found, _ = divide(images, Split(by_hash=True, assign={"0000.jpg": "test"}), Split(assign={"0001.jpg": "test"}))
    assert [name for name, split in found.items() if split == "test"] == ["0000.jpg"]


def test_shares_that_decide_nothing_are_told():
    told = "the dataset itself says the split of each image; by_hash passes over that"
    images = entries(numbered(10), split="train")
    assert divide(images, Split(ratios=(0.5, 0.5)))[1].count_of("told", told) == 1
    assert divide(images, Split(ratios=(0.5, 0.5), by_hash=True))[1].count_of("told", told) == 0
    assert divide(images)[1].count_of("told", told) == 0


@given(NAMES, RATIOS, st.integers(0, 2**40))
def test_the_same_images_are_split_in_the_same_way_whatever_their_order(names, ratios, seed):
    split = Split(ratios=ratios, seed=seed)
    forwards, _ = divide(entries(names), split)
    backwards, _ = divide(entries(names[::-1]), split)
    assert forwards == backwards


@given(NAMES, NAMES, RATIOS)
def test_an_image_stays_where_it_is_when_images_are_added(names, more, ratios):
    """But for one that was moved there because its split would have been empty, which has been told."""
    before, report = divide(entries(names), Split(ratios=ratios))
    after, later = divide(entries([*names, *(f"new/{name}" for name in more)]), Split(ratios=ratios))
    moved = [name for name in names if before[name] != after[name]]
    told = report.count_of("told") + later.count_of("told")
    assert len(moved) <= told


@given(NAMES, RATIOS)
def test_training_and_validation_are_never_empty_without_saying_so(names, ratios):
    found, report = divide(entries(names), Split(ratios=ratios))
    counts = Counter(found.values())
    assert counts["train"] > 0
    if not counts["val"]:
        assert report.count_of("told") > 0
        assert len(names) == 1 or ratios[1] == 0
    if len(ratios) == 2:
        assert not counts["test"]


def test_one_image_trains_and_it_is_told_that_none_validates():
    for name in numbered(30):
        found, report = divide(entries([name]))
        assert found == {name: "train"}
        assert "no image is in val: validation is done on the training images" in report.counts["told"]


def test_two_images_are_one_for_training_and_one_for_validation():
    for name in numbered(30):
        found, _ = divide(entries([name, "other.jpg"]))
        assert sorted(found.values()) == ["train", "val"]


@pytest.mark.parametrize("seed", range(20))
def test_what_tests_gives_way_to_what_trains_and_validates(seed: int):
    found, _ = divide(entries(["a", "b"]), Split(ratios=(0.1, 0.1, 0.8), seed=seed))
    assert sorted(found.values()) == ["train", "val"]


@pytest.mark.parametrize(("said", "missing"), [("test", {"train", "val"}), ("train", {"val"}), ("val", {"train"})])
def test_a_split_that_the_dataset_leaves_empty_stays_so_and_is_told(said, missing):
    found, report = divide(entries(numbered(5), split=said))
    assert set(found.values()) == {said}
    told = " ".join(report.counts["told"])
    assert all(f"no image is in {split}" in told for split in missing)


@pytest.mark.parametrize("ratios", [(0.8, 0.2), (0.5, 0.3, 0.2), (3, 1)])
def test_the_shares_are_what_was_asked_for(ratios):
    found, _ = divide(entries(numbered(4000)), Split(ratios=ratios))
    counts = Counter(found.values())
    for split, ratio in zip(("train", "val", "test"), ratios, strict=False):
        assert counts[split] / 4000 == pytest.approx(ratio / sum(ratios), abs=0.03)


def test_another_seed_is_another_split():
    images = entries(numbered(200))
    assert divide(images, Split(seed=1))[0] != divide(images, Split(seed=2))[0]


@given(st.lists(st.sets(st.integers(0, 4), max_size=3).map(lambda some: tuple(sorted(some))), min_size=1, max_size=80))
def test_stratified_each_class_is_divided_by_the_images_of_which_it_is_the_rarest(labels):
    images = entries(numbered(len(labels)))
    found, _ = divide(images, Split(stratify=True, ratios=(0.75, 0.25)), labels=labels)
    common = Counter(label for some in labels for label in some)
    rarest = [min(some, key=lambda label: (common[label], label), default=-1) for some in labels]
    for label in set(rarest):
        places = [place for place, one in enumerate(rarest) if one == label]
        in_val = sum(found[images[place].name] == "val" for place in places)
        # One may have been moved, so that no split is empty.
        assert abs(in_val - len(places) / 4) <= 1 + 1


def test_a_class_of_two_images_is_in_both_splits_when_stratified_in_halves():
    labels = [(0,), (0,), (1,), (1,)]
    found, _ = divide(entries(numbered(4)), Split(stratify=True, ratios=(0.5, 0.5)), labels=labels)
    splits = list(found.values())
    assert set(splits[:2]) == set(splits[2:]) == {"train", "val"}


@pytest.mark.parametrize("seed", range(10))
def test_a_rare_class_is_divided_before_a_common_one_that_is_on_the_same_images(seed: int):
    labels = [(0, 1), (0, 1), *[(0,)] * 18]
    found, _ = divide(entries(numbered(20)), Split(stratify=True, ratios=(0.5, 0.5), seed=seed), labels=labels)
    assert {found["0000.jpg"], found["0001.jpg"]} == {"train", "val"}


def test_stratified_counts_what_is_assigned_already():
    images = entries(numbered(20))
    assign = {entry.name: "val" for entry in images[:10]}
    found, _ = divide(images, Split(stratify=True, ratios=(0.5, 0.5), assign=assign), labels=[(0,)] * 20)
    assert Counter(found.values()) == {"train": 10, "val": 10}


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 99)), min_size=1, max_size=60, unique=True))
def test_images_of_one_group_are_never_in_two_splits(pairs):
    names = [f"patient{group}/slice{number}.png" for group, number in pairs]
    for group in ("folder", r"patient\d+", r"(patient\d+)/slice"):
        found, _ = divide(entries(names), Split(group=group, ratios=(0.6, 0.2, 0.2)))
        for patient in {group for group, _ in pairs}:
            assert len({split for name, split in found.items() if name.startswith(f"patient{patient}/")}) == 1


def test_an_image_whose_split_is_said_takes_its_group_along_and_a_torn_group_is_told():
    images = entries(["a/1", "a/2", "a/3", "b/1", *numbered(10)])
    images[0].split = images[1].split = "test"
    images[2].split = "train"
    found, report = divide(images, Split(group="folder"))
    assert {found[name] for name in ("a/1", "a/2", "a/3")} == {"test"}
    assert report.count_of("repaired", "a group that was in several splits") == 1


def test_an_image_that_is_listed_in_two_splits_is_in_one():
    twice = [Entry("a", "same.jpg", 1, split="train"), Entry("a", "same.jpg", 2, split="val")]
    report = Report(source="coco", target="yolo", task="detection")
    found = Division(None, None, Reporter(report)).of([*twice, *entries(numbered(5))], [])
    assert found[:2] == ["train", "train"]
    assert report.count_of("repaired", "an image that was in several splits") == 1


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, Split()),
        ({"method": "none"}, Split()),
        (
            {"method": "manual", "seed": 7, "splits": {"1": "train", "2": None}},
            Split(seed=7, assign={"1": "train", "2": None}),
        ),
        ({"splits": {1: "val"}}, Split(assign={"1": "val"})),
        ({"method": "auto", "default_ratio": [0.7, 0.3], "seed": 3}, Split(ratios=(0.7, 0.3), seed=3, by_hash=True)),
        ({"method": "manual", "ratio": [70, 20, 10]}, Split(ratios=(70, 20, 10))),
        ({"ratio": 0.75}, Split(ratios=(0.75, 0.25))),
        ({"ratio": {"train": 0.6, "val": 0.4}}, Split(ratios=(0.6, 0.4))),
        ({"train_ratio": 0.7, "val_ratio": 0.2, "test_ratio": 0.1}, Split(ratios=(0.7, 0.2, 0.1))),
        ({"train_ratio": 0.75}, Split(ratios=(0.75, 0.25))),
        ({"stratify_by": "class", "unknown": 1}, Split(stratify=True)),
    ],
)
def test_the_shapes_of_split_config_that_are_in_use(config: Mapping[str, Any], expected: Split):
    assert split_of_job(config) == expected


@pytest.mark.parametrize(
    "config",
    [
        {"splits": ["a"]},
        {"splits": {"1": "holdout"}},
        {"splits": {"1": 3}},
        {"ratio": [0.8]},
        {"ratio": [0.8, -0.2]},
        {"ratio": "80/20"},
        {"ratio": {"train": "much"}},
        {"seed": "forty-two"},
        {"group_by": "("},
        [],
    ],
)
def test_a_split_config_that_can_not_be_used_is_an_invalid_setting(config):
    with pytest.raises(InvalidSetting):
        split_of_job(config)


@pytest.mark.parametrize("ratios", [(0.8,), (1, 1, 1, 1), (0, 1), (math.nan, 1), (math.inf, 1), (-1, 2), "80", None])
def test_ratios_that_can_not_be_used_are_named_with_the_mend(ratios):
    with pytest.raises(InvalidSetting, match=r"write shares of train, val and test, as \(0.8, 0.2\)"):
        Split(ratios=ratios)


def test_a_name_that_is_no_text_at_all_has_its_place_too():
    found, _ = divide(entries(["\udcff.jpg", "e\u0301.jpg", "\xe9.jpg"]))
    assert len(found) == 3

"""Classification: image folders to image folders."""

from __future__ import annotations

from collections.abc import Iterable

from tests.datasets.cases.model import Cases, Expected, Source, Thing

cases = Cases("folders", "folders", "classification")


def images(to: Source, paths: Iterable[str]) -> Expected:
    """Images at `split/class/name` or `class/name`."""
    expected = Expected()
    for path in paths:
        to.image(path)
        *above, name, _ = path.split("/")
        expected.images[path] = [Thing(name)]
        if above:
            expected.splits[path] = above[0]
    return expected


@cases.add("F01", "train and val")
def basic(to: Source) -> Expected:
    return images(to, ["train/cat/1.jpg", "train/cat/2.jpg", "train/dog/3.jpg", "val/cat/4.jpg", "val/dog/5.jpg"])


@cases.add("F02", "one base name in two classes")
def same_name(to: Source) -> Expected:
    return images(to, ["train/cat/1.jpg", "train/dog/1.jpg", "val/cat/1.jpg", "val/dog/1.jpg"])


@cases.add("F03", "a class that val lacks")
def missing_class(to: Source) -> Expected:
    return images(to, ["train/ant/1.jpg", "train/cat/2.jpg", "train/dog/3.jpg", "val/cat/4.jpg", "val/dog/5.jpg"])


@cases.add("F04", "one stem with two extensions")
def same_stem(to: Source) -> Expected:
    return images(to, ["train/cat/1.jpg", "train/cat/1.png", "train/dog/2.jpg", "val/cat/3.jpg", "val/dog/4.jpg"])


@cases.add("F05", "no splits")
def no_splits(to: Source) -> Expected:
    return images(to, [f"{name}/{number}.jpg" for name in ("cat", "dog") for number in range(6)])


@cases.add("F06", "class names with blanks and in other scripts; files that are no images")
def odd_names(to: Source) -> Expected:
    to.text("train/große Katze/notes.txt", "no image")
    to.text("train/.DS_Store", "no image")
    return images(to, ["train/große Katze/1.jpg", "train/猫/2.jpg", "val/große Katze/3.jpg", "val/猫/4.jpg"])


@cases.add("F07", "nothing in it")
def empty(to: Source) -> Expected:
    to.text("readme.txt", "no image")
    return Expected(refusal="due")

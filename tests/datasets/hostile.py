"""Datasets that are almost right: valid ones, in which something has been put into the place of something else."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from tests.datasets.trees import HEIGHT, WIDTH, jpeg, png, put

IMAGES = {"a.jpg": jpeg(), "b/b.png": png(), "c.jpg": jpeg(100, 30)}
_DEEP, _TOO_DEEP = "@deep@", "@too deep@"

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)

hostile_values = st.one_of(
    st.sampled_from(
        [
            *(None, True, False, 0, -1, 1, 2, 3, 0.5, -0.0, 1e-9, 1e9, 1e308, -1e308, 5e-324),
            *(2**31, 2**63, 2**64, -(2**70), 10**30, float("nan"), float("inf"), -float("inf")),
            *("", " ", "0", "1", "01", "-1", "١", "1e3", "9" * 19, "9" * 5000, "\ud800", "\0", "\n", "🙂", "é" * 300),
            *("../up.jpg", "/etc/passwd", "C:\\x.jpg", "a\\..\\..\\x.jpg", "a.jpg/", ".", "..", "a.jpg/b.jpg", "~"),
            *(
                "train",
                "val",
                "TEST",
                "none",
                "__background__",
                "cat",
                "left eye",
                "!!python/object:x.Y",
                "- a: [",
                "%s",
            ),
            *(
                [],
                {},
                [[]],
                [{}],
                {"": []},
                [1],
                [1, 2, 3],
                [[0, 0, 9, 0, 9]],
                [[1, 1, 1, 1, 1, 1]],
                [[0] * 6, [5] * 8],
            ),
            *(
                [[1e308, -1e308] * 4],
                [[-50, -50, 200, -50, 200, 200, -50, 200]],
                [-5, -5, 500, 500],
                [5, 5, 1e-7, 1e-7],
            ),
            {"size": [HEIGHT, WIDTH], "counts": [HEIGHT * WIDTH]},
            {"size": [HEIGHT, WIDTH], "counts": [0, HEIGHT * WIDTH]},
            {"size": [HEIGHT, WIDTH], "counts": [100, 7, HEIGHT * WIDTH - 107]},
            {"size": [-HEIGHT, -WIDTH], "counts": [HEIGHT * WIDTH]},
            {"size": [10**9, 10**9], "counts": [10**18]},
            {"size": [HEIGHT, WIDTH], "counts": "o" * 20_000},
            {"size": [HEIGHT, WIDTH], "counts": "0"},
            {"splits": 3, "ratio": [0, 0]},
            {"method": "auto", "ratio": 0.5, "seed": -1, "group_by": "(", "stratify": True},
            *(_DEEP, _TOO_DEEP),
        ]
    ),
    json_values,
)


def places_in(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The ways to everything in it."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [here, *(place for key, one in inner for place in places_in(one, (*here, key)))]


@st.composite
def mutated(draw: Callable[..., Any], document: Any) -> Any:
    """The document with one to four things in it replaced, taken out, swapped or doubled."""
    changed = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 4))):
        places = places_in(changed)[1:]
        if not places:
            return copy.deepcopy(draw(hostile_values))
        *way, last = draw(st.sampled_from(places))
        home = changed
        for key in way:
            home = home[key]
        change = draw(st.sampled_from(["replace", "replace", "remove", "double", "swap"]))
        if change == "replace":
            home[last] = copy.deepcopy(draw(hostile_values))
        elif change == "remove":
            del home[last]
        elif change == "double" and isinstance(home, list):
            home.insert(last, copy.deepcopy(home[last]))
        else:
            *other, key = draw(st.sampled_from(places))
            there = changed
            for one in other:
                there = there[one]
            home[last] = copy.deepcopy(there[key])
    return changed


def text_of(document: Any) -> bytes:
    """As JSON, with what Python writes and JSON doesn't know, and with what no Python object could be."""
    text = json.dumps(document)
    text = text.replace(json.dumps(_DEEP), "[" * 150 + "]" * 150)
    return text.replace(json.dumps(_TOO_DEEP), "[" * 50_000 + "]" * 50_000).encode()


KEYPOINTS = ["nose", "left eye", "right eye"]
_RING = [5.0, 5.0, 30.0, 6.0, 28.0, 33.5, 6.25, 30.0]
_BOX = [5.0, 5.0, 25.0, 28.5]
_POINTS = [10.0, 10.0, 2, 20.5, 12.0, 1, 0.0, 0.0, 0]
_MASK = {"size": [HEIGHT, WIDTH], "counts": [50, 10, HEIGHT * WIDTH - 60]}


def _object(number: int, image: int, category: int, **more: Any) -> dict[str, Any]:
    return {"id": number, "image_id": image, "category_id": category, "bbox": _BOX, "iscrowd": 0, "area": 712.5} | more


def coco() -> dict[str, Any]:
    """A file with something of everything."""
    return {
        "info": {},
        "images": [
            {"id": 1, "file_name": "a.jpg", "width": WIDTH, "height": HEIGHT},
            {"id": 2, "file_name": "b/b.png", "width": WIDTH, "height": HEIGHT, "split": "val"},
            {"id": "x", "file_name": "c.jpg"},
        ],
        "categories": [
            {"id": 3, "name": "cat", "keypoints": KEYPOINTS, "skeleton": [[1, 2], [1, 3]]},
            {"id": 7, "name": "dog", "supercategory": "animal"},
        ],
        "annotations": [
            _object(1, 1, 3, segmentation=[_RING], keypoints=_POINTS, num_keypoints=2),
            _object(2, 1, 7, segmentation=_MASK, attributes={"occluded": True}),
            _object(3, 2, 7, iscrowd=1, segmentation=_MASK),
            _object(4, 2, 7, segmentation=[_RING, [40.0, 40.0, 50.0, 40.0, 50.0, 47.0]]),
            {"id": 5, "image_id": "x", "category_id": 3, "bbox": [90, 20, 40, 40]},
        ],
    }


def nested_dice() -> dict[str, Any]:
    """Annotations within their images."""
    document = coco()
    images = document["images"]
    for image in images:
        image["annotations"] = [
            {key: value for key, value in one.items() if key not in ("image_id", "category_id")}
            | {"class_id": 0 if one["category_id"] == 3 else 1, "class_name": "cat", "bbox_format": "xywh"}
            for one in document["annotations"]
            if one["image_id"] == image["id"]
        ]
    images[0]["annotations"].append({"id": 9, "class_id": 0, "circle": {"center": [20, 20], "radius": 7.5}})
    images[1]["annotations"].append({"id": 10, "class_id": -1, "class_name": "__background__", "is_background": True})
    return {
        "format_version": "1.0",
        "task_type": "object_detection",
        "storage_info": {"storage_type": "s3", "bucket": "b", "image_root": "datasets/7/images/"},
        "split_config": {"method": "manual", "ratio": [0.5, 0.5], "seed": 3, "splits": {"1": "train"}},
        "classes": [{"id": 0, "name": "cat", "keypoints": KEYPOINTS}, {"id": 1, "name": "dog"}],
        "images": images,
    }


def labelme() -> dict[str, Any]:
    """The files of all images, by their stems."""
    shapes = [
        {"label": "cat", "points": [[5, 5], [30, 6], [28, 33.5]], "shape_type": "polygon", "group_id": 1, "flags": {}},
        {"label": "cat", "points": [[40, 5], [50, 6], [48, 13.5]], "shape_type": "polygon", "group_id": 1},
        {"label": "dog", "points": [[30, 30], [10, 12]], "shape_type": "rectangle", "group_id": None},
        {"label": "dog", "points": [[30, 30], [35, 30]], "shape_type": "circle"},
        {"label": "nose", "points": [[12, 14]], "shape_type": "point", "group_id": 1},
        {"label": "road", "points": [[1, 1], [9, 9], [20, 3]], "shape_type": "linestrip"},
        {"label": "dog", "points": [[5, 5], [25, 5], [25, 15], [5, 15]], "shape_type": "oriented_rectangle"},
        {"label": "cat", "points": [[2, 2], [3, 3]], "shape_type": "mask", "mask": "AAAA"},
    ]
    file = {"version": "5.0", "flags": {"good": True}, "shapes": shapes, "imageData": None}
    return {
        Path(name).with_suffix(".json").as_posix(): file
        | {"imagePath": Path(name).name, "imageWidth": WIDTH, "imageHeight": HEIGHT}
        for name in IMAGES
    }


def yolo() -> dict[str, Any]:
    """What `data.yaml` says, and the rows of each image as lists."""
    data = {
        "path": ".",
        "train": "images/train",
        "val": ["images/val"],
        "nc": 2,
        "names": {"0": "cat", "1": "dog"},
        "kpt_shape": [3, 3],
        "flip_idx": [0, 2, 1],
    }
    box = [0, 0.5, 0.5, 0.25, 0.5]
    ring = [1, 0.1, 0.1, 0.5, 0.1, 0.5, 0.5, 0.1, 0.5]
    pose = [*box, 0.4, 0.4, 2, 0.5, 0.5, 1, 0, 0, 0]
    return {"data": data, "rows": {"train/a": [box, ring, pose], "val/b": [box, ring], "train/c": []}}


def write_coco(root: Path, document: Any) -> None:
    """Images and one file."""
    for name, content in IMAGES.items():
        put(root / "images" / name, content)
    put(root / "annotations.json", text_of(document))


def write_labelme(root: Path, documents: Any) -> None:
    """Each file beside its image."""
    for name, content in IMAGES.items():
        put(root / name, content)
    for name, document in documents.items() if isinstance(documents, dict) else ():
        if name in labelme():
            put(root / name, text_of(document))


def write_yolo(root: Path, document: Any) -> None:
    """`data.yaml`, which JSON is, too; images and rows."""
    for name in ("train/a.jpg", "val/b.jpg", "train/c.jpg"):
        put(root / "images" / name, jpeg())
    parts = document if isinstance(document, dict) else {}
    put(root / "data.yaml", text_of(parts.get("data")))
    rows = parts.get("rows")
    for name, some in rows.items() if isinstance(rows, dict) else ():
        if name in yolo()["rows"]:
            lines = some if isinstance(some, list) else [some]
            text = "\n".join(" ".join(map(str, one)) if isinstance(one, list) else str(one) for one in lines)
            put(root / "labels" / f"{name}.txt", text.encode(errors="surrogatepass"))


SOURCES: dict[str, tuple[str, Callable[[], Any], Callable[[Path, Any], None]]] = {
    "coco": ("coco", coco, write_coco),
    "dice nested": ("dice", nested_dice, write_coco),
    "dice flat": ("dice", coco, write_coco),
    "labelme": ("labelme", labelme, write_labelme),
    "yolo": ("yolo", yolo, write_yolo),
}

"""YOLO as Ultralytics reads it: https://docs.ultralytics.com/datasets/. A text file of rows beside each image.

What is written: `data.yaml`, images below `images/<split>/`, and labels where Ultralytics looks for them: at the
image's path, with the last `/images/` become `/labels/`.
"""

from __future__ import annotations

from trainer_hooks.datasets.formats.yolo.reader import index, read
from trainer_hooks.datasets.formats.yolo.source import label_path
from trainer_hooks.datasets.formats.yolo.writer import TASKS, Writer, finish
from trainer_hooks.datasets.formats.yolo.yaml_files import yaml_of

__all__ = ["TASKS", "Writer", "finish", "index", "label_path", "read", "yaml_of"]

"""LabelMe: https://github.com/wkentaro/labelme. A JSON file of shapes for each image.

`imagePath` is no path that is opened: the image is looked for by its last part, beside the file and in folders named
`images`. Shapes with the same label and the same `group_id` are parts of one object; points with the `group_id` of an
object are its keypoints. The image's own `flags` tell what it shows as a whole.

What is written: `<split>/<name>.json`, each beside its image. Oriented boxes are shapes of the type
`oriented_rectangle`, which the app knows from version 7 on.
"""

from __future__ import annotations

from trainer_hooks.datasets.formats.labelme.reader import index, read
from trainer_hooks.datasets.formats.labelme.writer import TASKS, Writer, finish

__all__ = ["TASKS", "Writer", "finish", "index", "read"]

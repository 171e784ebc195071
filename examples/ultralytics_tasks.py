"""Train for any of Ultralytics' tasks; the one line is the same for all.

    python examples/ultralytics_tasks.py segment path/to/data.yaml 3

The task is detect, segment, classify, pose or obb; for classify, the data is a folder with a folder per class.
"""

import sys

from ultralytics import YOLO

import trainer_hooks

MODELS = {
    "detect": "yolo11n.yaml",
    "segment": "yolo11n-seg.yaml",
    "classify": "yolo11n-cls.yaml",
    "pose": "yolo11n-pose.yaml",
    "obb": "yolo11n-obb.yaml",
}

task, data, epochs = sys.argv[1], sys.argv[2], int(sys.argv[3])

trainer_hooks.autolog("ultralytics")
model = YOLO(MODELS[task])
model.train(data=data, epochs=epochs, imgsz=64, batch=4, device="cpu", workers=0, plots=False)

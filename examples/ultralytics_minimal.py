"""Train a YOLO model and have all of it reported: one import and one call more than without trainer_hooks.

    python examples/ultralytics_minimal.py path/to/data.yaml 3

With nothing configured, everything is kept in the run's journal on local disk; `trainer-hooks runs` shows it.
With CALLBACK_URL and JOB_ID in the environment, the same program reports to your platform.
"""

import sys

from ultralytics import YOLO

import trainer_hooks

data, epochs = sys.argv[1], int(sys.argv[2])

trainer_hooks.autolog("ultralytics")
model = YOLO("yolo11n.yaml")
model.train(data=data, epochs=epochs, imgsz=64, batch=4, device="cpu", workers=0, plots=False)

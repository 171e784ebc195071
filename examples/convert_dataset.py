"""Convert a COCO dataset into what Ultralytics reads, see what was done to it, and train on it.

    python examples/convert_dataset.py path/to/coco 3

The folder has `annotations/*.json` and the images; `python tools/synthetic.py coco --coco` makes a small one. The same
on the command line: `trainer-hooks dataset convert path/to/coco --source coco --target yolo --task detection`.
"""

import sys

from ultralytics import YOLO

import trainer_hooks
from trainer_hooks import datasets

folder, epochs = sys.argv[1], int(sys.argv[2])

data_yaml = datasets.convert(folder, source="coco", target="yolo", task="detection")
report = datasets.read_report(data_yaml)
print(report.summary())
for finding in report.findings:
    print(finding)

trainer_hooks.autolog("ultralytics")
model = YOLO("yolo11n.yaml")
model.train(data=data_yaml, epochs=epochs, imgsz=64, batch=4, device="cpu", workers=0, plots=False)

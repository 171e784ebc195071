#!/bin/sh
# Ultralytics' own command, recorded: not a line of Python is written.
#
#     sh examples/yolo_command.sh path/to/data.yaml 3
set -eu
exec trainer-hooks run -- yolo detect train model=yolo11n.yaml "data=$1" "epochs=$2" \
    imgsz=64 batch=4 device=cpu workers=0 plots=False

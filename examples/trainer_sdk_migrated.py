"""A trainer written for predecessor B's Trainer SDK, moved to trainer_hooks: only its import has changed.

    CALLBACK_URL=https://platform.example/api/v1 JOB_ID=123 python examples/trainer_sdk_migrated.py

Without a platform, TRAINER_HOOKS_MODE=offline keeps everything in the run's journal. With TRAINER_HOOKS_STORAGE, or the
INTERNAL_STORAGE_… variables, the checkpoint is stored, too. What is trained is a line through made-up points.
"""

import json
import random
import tempfile
from pathlib import Path

from trainer_hooks.trainer_sdk import TrainerSDK

POINTS = [(x / 50, 3 * x / 50 + 1) for x in range(50)]


def train_one_epoch(line: dict[str, float], learning_rate: float) -> dict[str, float]:
    squares = 0.0
    for x, y in random.sample(POINTS, len(POINTS)):
        error = line["slope"] * x + line["offset"] - y
        line["slope"] -= learning_rate * error * x
        line["offset"] -= learning_rate * error
        squares += error * error
    return {"loss": squares / len(POINTS), "lr": learning_rate, **line}


sdk = TrainerSDK()
sdk.report_started()

config = sdk.get_basic_config()
epochs = config["epochs"]
line = {"slope": 0.0, "offset": 0.0}
metrics: dict[str, float] = {}
for epoch in range(1, epochs + 1):
    metrics = train_one_epoch(line, config["learning_rate"])
    sdk.report_progress(epoch, epochs, metrics)

with tempfile.TemporaryDirectory() as folder:
    weights = Path(folder, "best.json")
    weights.write_text(json.dumps(line))
    best_uri = sdk.upload_checkpoint(str(weights), "best")
sdk.report_completed(metrics, checkpoints={"best": best_uri})
sdk.close()
print(f"after {epochs} epochs: loss {metrics['loss']:.4f}; the checkpoint goes to {best_uri}")

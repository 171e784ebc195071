"""A loop that goes on where it was stopped, and that stops when the platform wants it to.

python resume.py 2      # is taken away after two epochs
python resume.py        # goes on with the third, as the next attempt of the same run
"""

import json
import sys
from pathlib import Path

import trainer_hooks

EPOCHS = 5
TAKEN_AWAY_AFTER = int(sys.argv[1]) if sys.argv[1:] else None


def main() -> None:
    weight, first = 0.0, 1
    with trainer_hooks.start_run(run_id="nightly", resume="auto", model="line", total_epochs=EPOCHS) as run:
        if run.checkpoint is not None:
            saved = json.loads(run.checkpoint.path.read_text())
            weight, first = saved["weight"], saved["epoch"] + 1
        for epoch in range(first, EPOCHS + 1):
            weight += 0.5 * (3 - weight)
            run.log_metrics({"loss": (3 - weight) ** 2}, epoch=epoch)
            checkpoint = Path("last.json")
            checkpoint.write_text(json.dumps({"weight": weight, "epoch": epoch}))
            run.log_checkpoint(checkpoint, epoch=epoch)
            if run.should_stop:
                break
            if epoch == TAKEN_AWAY_AFTER:
                raise KeyboardInterrupt
    print(f"epochs {first} to {EPOCHS}, weight {weight}")


if __name__ == "__main__":
    main()

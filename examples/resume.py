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
    weight = 0.0
    with trainer_hooks.start_run(run_id="nightly", resume="auto", model="line", total_epochs=EPOCHS) as run:
        if run.checkpoint is not None:
            weight = json.loads(run.checkpoint.path.read_text())["weight"]
        for epoch in run.epochs(EPOCHS):
            weight += 0.5 * (3 - weight)
            run.log_metrics({"loss": (3 - weight) ** 2}, epoch=epoch)
            checkpoint = Path("last.json")
            checkpoint.write_text(json.dumps({"weight": weight}))
            run.log_checkpoint(checkpoint, epoch=epoch)
            print(f"epoch {epoch}: weight {weight}")
            if epoch == TAKEN_AWAY_AFTER:
                raise KeyboardInterrupt


if __name__ == "__main__":
    main()

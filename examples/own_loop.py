"""A training loop of your own, told through the same path as a framework's: no framework needed.

    python examples/own_loop.py

Fits a line by gradient descent, and keeps the two numbers as its checkpoint.
"""

import json
import random
from pathlib import Path

import trainer_hooks

POINTS = [(x / 10, 3 * (x / 10) + 1 + random.gauss(0, 0.1)) for x in range(50)]
EPOCHS = 5
RATE = 0.02

slope, offset = 0.0, 0.0
best = float("inf")
checkpoint = Path("line.json")

with trainer_hooks.start_run(model="line", total_epochs=EPOCHS, params={"rate": RATE}) as run:
    for epoch in run.epochs(EPOCHS):
        for x, y in POINTS:
            error = slope * x + offset - y
            slope -= RATE * error * x
            offset -= RATE * error
        loss = sum((slope * x + offset - y) ** 2 for x, y in POINTS) / len(POINTS)

        is_best = loss < best
        best = min(best, loss)
        run.log_metrics({"loss": loss, "slope": slope, "offset": offset}, epoch=epoch)
        run.log_validation({"loss": loss}, epoch=epoch, primary="loss", is_best=is_best)

        checkpoint.write_text(json.dumps({"slope": slope, "offset": offset}))
        run.log_checkpoint(checkpoint, names=["last", "best"] if is_best else ["last"], epoch=epoch)

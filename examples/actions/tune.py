"""A search over hyper-parameters: each trial a run of its own, below the run that is the search.

    pip install "trainer-hooks[actions,ray]"
    python examples/actions/tune.py
    trainer-hooks runs ls

Fits a line by gradient descent, with the learning rate and the number of points per step to be found.
"""

import random
from typing import Any

from pydantic import BaseModel

from trainer_hooks.actions import BaseTrainAction, run_action

POINTS = [(x / 10, 3 * (x / 10) + 1) for x in range(50)]


class FitParams(BaseModel):
    """What a platform's user may choose."""

    rate: float
    batch: int = 10
    epochs: int = 8


class Fit(BaseTrainAction[FitParams]):
    """Finds slope and offset."""

    action_name = "fit"

    def execute(self) -> dict[str, Any]:
        slope = offset = 0.0
        for epoch in range(1, self.params.epochs + 1):
            for x, y in random.sample(POINTS, self.params.batch):
                error = slope * x + offset - y
                slope -= self.params.rate * error * x
                offset -= self.params.rate * error
            loss = sum((slope * x + offset - y) ** 2 for x, y in POINTS) / len(POINTS)
            self.ctx.run.log_metrics({"loss": loss}, epoch=epoch, total_epochs=self.params.epochs)
            if self.ctx.run.should_stop:  # the search has seen enough of this trial
                break
        return {"slope": slope, "offset": offset}


SEARCH = {
    "is_tune": True,
    "tune_config": {"metric": "loss", "mode": "min", "num_samples": 3, "scheduler": "asha"},
    "hyperparameters": [
        {"name": "rate", "type": "loguniform", "min": 0.001, "max": 0.1},
        {"name": "batch", "type": "grid_search", "options": [10, 50]},
    ],
}

if __name__ == "__main__":
    result = run_action(Fit, {**SEARCH, "epochs": 8})
    print(f"{result['best_run']}: {result['best_result']}, loss {result['best_metrics']['loss']:.4g}")

"""A run mirrored to ClearML, in a task that is made for it.

    pip install "trainer-hooks[clearml]"
    clearml-init                            # once: which server, and the credentials
    python examples/clearml_mirror.py

Where the server is away, or none has been set up, the loop runs just the same, and everything is kept. Later:

    trainer-hooks sync

A script that calls clearml's own `Task.init` before its training needs nothing of this: that task is joined.
"""

import math

import trainer_hooks

EPOCHS = 5

with trainer_hooks.start_run(clearml=True, model="decay", total_epochs=EPOCHS, params={"rate": 0.5}) as run:
    for epoch in range(1, EPOCHS + 1):
        loss = math.exp(-0.5 * epoch)
        # Both on the plot "loss": the series "train" and "val".
        run.log_metrics({"train/loss": loss, "val/loss": 1.1 * loss}, epoch=epoch)

"""The run: what a training job tells, through one object; and which process may speak at all.

Integrations and hand-written loops use the same `Run`. Nothing in it raises for a reason of delivery or of the disk,
and nothing in it waits, but for the bounded wait at the process's exit.

A `Run` tells by the methods of `reporter`. Below it, `opened` is what is there from its beginning on, `stopping` asks
whether to go on, `ending` ends it. `speaking` decides which process gets a run that is heard: in a distributed job only
the main one.
"""

from trainer_hooks.run.joined import JoinedRun
from trainer_hooks.run.open_runs import current_run, surrounding_run
from trainer_hooks.run.run import Run
from trainer_hooks.run.speaking import join_run, open_run
from trainer_hooks.run.starting import get_checkpoint, load_settings, start_run

__all__ = [
    "JoinedRun",
    "Run",
    "current_run",
    "get_checkpoint",
    "join_run",
    "load_settings",
    "open_run",
    "start_run",
    "surrounding_run",
]

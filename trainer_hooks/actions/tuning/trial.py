"""The process of one trial: `python -m trainer_hooks.actions.tuning.trial`, with its `Work` on stdin."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from trainer_hooks.actions.action import params_model_of
from trainer_hooks.actions.loading import load_action
from trainer_hooks.actions.params import read_params
from trainer_hooks.actions.running import do_known
from trainer_hooks.actions.tuning.order import Work
from trainer_hooks.run import start_run


def main() -> None:
    """Do the work, as a run of its own; what goes wrong before the action begins is that run's failure, too."""
    work = msgspec.json.decode(sys.stdin.buffer.read(), type=Work)
    sys.path[:] = [*work.sys_path, *(place for place in sys.path if place not in work.sys_path)]
    try:
        action = load_action(work.entrypoint, Path(work.sys_path[0]))
        params = read_params(params_model_of(action), work.params)
    except Exception:
        with start_run(params=work.params, parent=work.parent):
            raise
    do_known(action, params, {}, lambda _: None, parent=work.parent)


if __name__ == "__main__":
    main()

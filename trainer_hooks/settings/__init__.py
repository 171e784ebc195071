"""Every environment variable and every option, in this one package; nothing else reads or sets the environment.

A value comes from, in this order: an argument, the environment, the file `trainer_hooks.toml` in the working directory
(or the one `TRAINER_HOOKS_CONFIG` names), the default. `Settings.sources` remembers which, for `trainer-hooks doctor`.
No credential has a default, none can stand in the file, and none is ever printed: see `Settings.shown`.

`options` lists what can be set, `sources` reads it, `values` is what a process has of it. Beside them is what others
set: `launch` (launchers of several ranks), `libraries` (ClearML, torch, Ray), `children` (a process of ours, for those
that it starts), and `jobs` (the predecessors' platforms), which few need, and import by its own name.
"""

from trainer_hooks.settings.children import (
    AUTOLOG,
    SUPERVISOR,
    autolog_frameworks,
    checkpoint_above,
    run_above,
    supervisor_name,
    told_to_children,
)
from trainer_hooks.settings.credentials import is_secret
from trainer_hooks.settings.environ import environment, variables_set
from trainer_hooks.settings.launch import has_other_ranks, is_on_one_machine, launch_id, main_process_rank, ranks_here
from trainer_hooks.settings.libraries import (
    RAY_STOP_WAIT,
    has_clearml_parent,
    has_ray_cluster,
    ray_address,
    ray_token,
    ray_tune_as_a_part,
    trust_checkpoints,
)
from trainer_hooks.settings.options import DESCRIPTIONS, ENVIRONMENT
from trainer_hooks.settings.places import without_userinfo
from trainer_hooks.settings.values import Settings

__all__ = [
    "AUTOLOG",
    "DESCRIPTIONS",
    "ENVIRONMENT",
    "RAY_STOP_WAIT",
    "SUPERVISOR",
    "Settings",
    "autolog_frameworks",
    "checkpoint_above",
    "environment",
    "has_clearml_parent",
    "has_other_ranks",
    "has_ray_cluster",
    "is_on_one_machine",
    "is_secret",
    "launch_id",
    "main_process_rank",
    "ranks_here",
    "ray_address",
    "ray_token",
    "ray_tune_as_a_part",
    "run_above",
    "supervisor_name",
    "told_to_children",
    "trust_checkpoints",
    "variables_set",
    "without_userinfo",
]

"""What other libraries hear by their own variables: ClearML, torch, Ray."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from trainer_hooks.settings.environ import variables_set

_TRUST = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
_RAY_TUNE = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
}
_RAY_ADDRESSES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
_RAY_AUTHENTICATION = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
RAY_STOP_WAIT = "RAY_JOB_STOP_WAIT_TIME_S"
"""Of a Ray job: the seconds that it has between SIGTERM and SIGKILL when it is stopped."""


def has_clearml_parent(environ: Mapping[str, str] | None = None) -> bool:
    """Whether a process that this one descends from has a ClearML task, as clearml tells its children."""
    environ = os.environ if environ is None else environ
    # "<process>:<task>"; when a script closes its task, the part behind the colon goes.
    told = (environ.get(name, "") for name in ("CLEARML_PROC_MASTER_ID", "TRAINS_PROC_MASTER_ID"))
    return any(value.partition(":")[2] for value in told)


def trust_checkpoints() -> Callable[[], None]:
    """From 2.6 on, torch loads nothing but weights from a file, unless told otherwise; call the result to end that."""
    if os.environ.get(_TRUST):
        return lambda: None
    os.environ[_TRUST] = "1"

    def end() -> None:
        os.environ.pop(_TRUST, None)

    return end


def ray_address(address: str) -> AbstractContextManager[None]:
    """Within this block Ray goes to that cluster: what its variables say would go before what it is given."""
    return variables_set({"RAY_API_SERVER_ADDRESS": address}, unset=_RAY_ADDRESSES)


def ray_token(file: Path) -> AbstractContextManager[None]:
    """Within this block, clusters that Ray starts want the token in this file, and not one in the home directory.

    What the environment says of it goes before.
    """
    if any(os.environ.get(name) for name in _RAY_AUTHENTICATION):
        return nullcontext()
    return variables_set({"RAY_AUTH_TOKEN_PATH": str(file)}, unset=_RAY_AUTHENTICATION)


def ray_tune_as_a_part() -> AbstractContextManager[None]:
    """Within this block Ray Tune leaves Ctrl-C to this process, and prints and writes no tables of its own."""
    return variables_set(_RAY_TUNE)


def has_ray_cluster(environ: Mapping[str, str] | None = None) -> bool:
    """Whether Ray is told of a cluster that it is to connect to."""
    return bool((os.environ if environ is None else environ).get("RAY_ADDRESS"))

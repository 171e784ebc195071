"""On a Ray cluster, as a job of its Jobs API: the cluster of an address, else one of its own on this machine.

The job is `trainer-hooks run -- python -m trainer_hooks.actions …` in a copy of the action's folder. Nodes must have
this package, and find credentials in an environment of their own: what Ray is told can be read in its dashboard. The
one package of executors that knows Ray.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from trainer_hooks.actions.executors import named_settings
from trainer_hooks.actions.executors.records import Place, wait_until
from trainer_hooks.actions.executors.shipping import pack
from trainer_hooks.actions.plugin import Resources
from trainer_hooks.errors import ActionError, InvalidSetting, MissingPackage
from trainer_hooks.redact import is_secret_name, passwords_in
from trainer_hooks.settings import RAY_STOP_WAIT, Settings, environment, has_ray_cluster, ray_address

try:
    from ray.job_submission import JobSubmissionClient
except ImportError as error:
    _missing = 'the executor "ray" needs Ray: pip install "trainer-hooks[ray]"'
    raise MissingPackage(_missing) from error

from trainer_hooks.actions.executors.ray.cluster import own_cluster
from trainer_hooks.actions.executors.ray.handle import ENDS_WITHIN, RayHandle

__all__ = ["RayExecutor", "RayHandle"]

_log = logging.getLogger("trainer_hooks")
_PARAMS = ".trainer_hooks/params.json"
_POLL = 0.5
_UNREACHABLE_FOR = 60.0
_NOT_YET = "No available agent"


class RayExecutor:
    """Submits each action as a job.

    `address` is a cluster's as Ray knows it (`http://head:8265`, `ray://head:10001`, `head:6379`), by default what
    RAY_ADDRESS says; without either, a cluster is started on this machine, and ended by `close`. `runtime_env` is as
    Ray has it, `variables` are added to its own; `output`, if given, gets what the job writes.

    Raises:
        InvalidSetting: if there is a password in an address in `runtime_env`.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        resources: Resources | None = None,
        runtime_env: Mapping[str, Any] | None = None,
        variables: Mapping[str, str] | None = None,
        output: Callable[[str], object] | None = None,
    ) -> None:
        self._address = address
        self._resources = resources or Resources()
        self._runtime_env = dict(runtime_env or {})
        _check_addresses(self._runtime_env)
        self._variables = variables or {}
        self._output = output
        self._started = contextlib.ExitStack()
        self._is_ours = address is None and not has_ray_cluster()
        self._client: Any = None

    def submit(
        self,
        entrypoint: str,
        params: Mapping[str, Any],
        *,
        folder: Path | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> RayHandle:
        """As `Executor.submit`; a copy of the folder is the job's working directory."""
        known = named_settings(settings)
        self._warn_of_credentials(known)
        place = Place.of(known)
        with tempfile.TemporaryDirectory(prefix="trainer_hooks-action-") as made:
            package = Path(made) / "action.zip"
            runtime_env = {**self._runtime_env, "env_vars": self._public_variables()}
            leave_out = runtime_env.pop("excludes", [])
            added = {_PARAMS: msgspec.json.encode(params)}
            pack((folder or Path()).absolute(), package, added, leave_out=leave_out, settings=known)
            submitted = _submitted(
                self._connected(),
                entrypoint=self._command(entrypoint, known),
                runtime_env={**runtime_env, "working_dir": str(package)},
                metadata={"run": known.run_id or "", **({"job_id": known.job_id} if known.job_id else {})},
                **_as_ray_has_them(self._resources),
            )
        return RayHandle(self._client, submitted, known, place, self._output)

    def close(self) -> None:
        """End the cluster that was started for its jobs, by its own processes."""
        self._started.close()
        self._client = None

    def _connected(self) -> Any:
        if self._client is None:
            address = self._started.enter_context(own_cluster()) if self._is_ours else self._address
            try:
                with ray_address(address) if address else contextlib.nullcontext():
                    self._client = JobSubmissionClient(address)
            except (ConnectionError, RuntimeError) as error:
                message = (
                    f"the Ray cluster at {address or 'RAY_ADDRESS'} takes no jobs: {error}; check that its dashboard "
                    "can be reached there, and that RAY_AUTH_TOKEN_PATH names its token"
                )
                raise ActionError(message) from error
        return self._client

    def _command(self, entrypoint: str, settings: Settings) -> str:
        # On the command line, and not in Ray's environment: tasks that the action starts are not this run.
        told = [f"{name}={value}" for name, value in settings.as_public_environment().items()]
        python = sys.executable if self._is_ours else "python"
        action = [python, "-m", "trainer_hooks.actions", entrypoint, "--params", _PARAMS, "--outcome", "-"]
        return shlex.join(["env", *told, python, "-m", "trainer_hooks.cli", "run", "--", *action])

    def _public_variables(self) -> dict[str, str]:
        given = {**self._runtime_env.get("env_vars", {}), **self._variables}
        public = {name: str(value) for name, value in given.items() if not is_secret_name(name)}
        return {RAY_STOP_WAIT: str(ENDS_WITHIN), **public}

    def _warn_of_credentials(self, settings: Settings) -> None:
        given = [*self._runtime_env.get("env_vars", {}), *self._variables]
        found = [*settings.credentials(), *filter(is_secret_name, given)]
        if self._is_ours:  # its processes have this one's environment
            found = [name for name in found if name not in environment()]
        if found:
            _log.warning(
                "set here, and not sent along, since Ray shows what it is told: %s; set them on the nodes",
                ", ".join(found),
            )


def _submitted(client: Any, **job: Any) -> str:
    """Submit the job once; returns its id. A cluster that has just been started takes none for some seconds."""
    named = f"trainer_hooks_{secrets.token_hex(8)}"
    deadline = time.monotonic() + _UNREACHABLE_FOR
    while True:
        try:
            return str(client.submit_job(submission_id=named, **job))
        except (ConnectionError, RuntimeError) as error:
            if _NOT_YET not in str(error) or time.monotonic() > deadline:
                message = f"the Ray cluster takes no job: {error}"
                raise ActionError(message) from error
        wait_until(lambda: False, _POLL)


def _check_addresses(runtime_env: Mapping[str, Any]) -> None:
    if passwords_in(str(runtime_env)):
        message = (
            "an address in runtime_env has a password in it, and Ray shows what it is told; leave the password out, "
            "and set it on the nodes, as in their pip.conf or PIP_EXTRA_INDEX_URL"
        )
        raise InvalidSetting(message)


def _as_ray_has_them(resources: Resources) -> dict[str, Any]:
    return {f"entrypoint_{name}": value for name, value in resources.model_dump(exclude_none=True).items()}

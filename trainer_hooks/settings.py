"""Every environment variable and every option, in one place; nothing else in the package reads the environment.

A value comes from, in this order: an argument, the environment, the file `trainer_hooks.toml` in the working directory
(or the one `TRAINER_HOOKS_CONFIG` names), the default. `Settings.sources` remembers which, for `trainer-hooks doctor`.
No credential has a default, none can stand in the file, and none is ever printed: see `Settings.shown`.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from trainer_hooks.errors import InvalidSetting

_CONFIG_FILE = "trainer_hooks.toml"
_USERINFO = re.compile(r"(?<=://)[^/?#]*@")
_HTTP_ADDRESS = re.compile(r"https?://[^/\s:@]([^/\s]*[^/\s:])?(/\S*)?$", re.IGNORECASE)
_LIKE_AN_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*:/", re.IGNORECASE)
# Which rank a launcher says that this process is, and of how many. The innermost first: torchrun is started by srun or
# mpirun and not the other way round; and in a SLURM job all of mpirun's ranks on a node have the SLURM_PROCID of what
# started them there. JOB_COMPLETION_INDEX (Kubernetes) and SLURM_ARRAY_TASK_ID number jobs, not ranks.
_RANKS: Mapping[str, tuple[str, ...]] = {
    "RANK": ("WORLD_SIZE",),
    "OMPI_COMM_WORLD_RANK": ("OMPI_COMM_WORLD_SIZE",),
    "PMI_RANK": ("PMI_SIZE",),
    "PMIX_RANK": (),
    "SLURM_PROCID": ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"),
}

# Of torchrun with its elastic restarts, of torch's own rendezvous, of SLURM, of Open MPI and other PMIx launchers.
_LAUNCH = (
    "TORCHELASTIC_RUN_ID",
    "TORCHELASTIC_RESTART_COUNT",
    "MASTER_ADDR",
    "MASTER_PORT",
    "SLURM_JOB_ID",
    "SLURM_STEP_ID",
    "OMPI_MCA_ess_base_jobid",
    "PMIX_NAMESPACE",
)


_TRUST = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
_RAY_TUNE = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
}


class _Env:
    """Where a setting is found in the environment, the first name before the others; whether it must never be shown."""

    def __init__(self, *names: str, secret: bool = False) -> None:
        self.names = names
        self.secret = secret


NotNegative = Meta(ge=0)
# Not for ever: no wait is without a bound.
Seconds = Meta(ge=0, le=1e9)


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """What the user has set. Build with `load`; an instance never changes."""

    mode: Annotated[
        Literal["online", "offline", "disabled"],
        _Env("TRAINER_HOOKS_MODE"),
        "online delivers; offline only writes the journal, for a later sync; disabled does nothing at all",
    ] = "online"
    directory: Annotated[str, _Env("TRAINER_HOOKS_DIR"), "where the run directories are made"] = "trainer_runs"
    run_id: Annotated[
        str | None, _Env("TRAINER_HOOKS_RUN_ID"), "the run's name; the same name again is its next attempt"
    ] = None
    job_id: Annotated[str | None, _Env("JOB_ID"), "the platform's job that this training is"] = None
    callback_url: Annotated[str | None, _Env("CALLBACK_URL"), "base address of the platform's API, with /api/v1"] = None
    token: Annotated[str | None, _Env("TRAINER_HOOKS_TOKEN", secret=True), "sent to the platform as a bearer token"] = (
        None
    )
    token_file: Annotated[
        str | None,
        _Env("TRAINER_HOOKS_TOKEN_FILE"),
        "a file that holds the token; read again when the platform refuses it",
    ] = None
    storage: Annotated[
        str | None,
        _Env("TRAINER_HOOKS_STORAGE"),
        "where checkpoints go: s3://bucket/prefix or file:///path",
    ] = None
    storage_endpoint: Annotated[
        str | None, _Env("INTERNAL_STORAGE_ENDPOINT"), "address of the S3 server, where it isn't AWS"
    ] = None
    storage_access_key: Annotated[
        str | None,
        _Env("INTERNAL_STORAGE_ACCESS_KEY", secret=True),
        "S3 access key; without it boto3's own chain is asked",
    ] = None
    storage_secret_key: Annotated[str | None, _Env("INTERNAL_STORAGE_SECRET_KEY", secret=True), "S3 secret key"] = None
    storage_bucket: Annotated[
        str | None,
        _Env("INTERNAL_BUCKET_CHECKPOINTS"),
        "bucket for checkpoints where TRAINER_HOOKS_STORAGE is not set",
    ] = None
    dataset_storage: Annotated[
        str | None,
        _Env("TRAINER_HOOKS_DATASET_STORAGE"),
        "where datasets come from: s3://bucket/prefix or file:///path, with datasets/<id>/ in it",
    ] = None
    dataset_endpoint: Annotated[
        str | None, _Env("EXTERNAL_STORAGE_ENDPOINT"), "address of the S3 server of the datasets, where it isn't AWS"
    ] = None
    dataset_access_key: Annotated[
        str | None,
        _Env("EXTERNAL_STORAGE_ACCESS_KEY", secret=True),
        "S3 access key for datasets; without it boto3's own chain is asked",
    ] = None
    dataset_secret_key: Annotated[
        str | None, _Env("EXTERNAL_STORAGE_SECRET_KEY", secret=True), "S3 secret key for datasets"
    ] = None
    dataset_bucket: Annotated[
        str | None,
        _Env("EXTERNAL_BUCKET_DATASETS"),
        "bucket of the datasets where TRAINER_HOOKS_DATASET_STORAGE is not set",
    ] = None
    dataset_allow: Annotated[
        str | None,
        _Env("TRAINER_HOOKS_DATASET_ALLOW"),
        "what a list of annotations may name, as beginnings of addresses with commas between; by default any address",
    ] = None
    dataset_cache: Annotated[
        str, _Env("DATASET_CACHE_DIR"), "where fetched datasets are kept for the next job; jobs may share it"
    ] = "~/.cache/trainer_hooks/datasets"
    dataset_cache_max_gb: Annotated[
        float,
        NotNegative,
        _Env("DATASET_CACHE_MAX_GB"),
        "how large the cache may grow, in units of 10^9 bytes; datasets in use don't go",
    ] = 50.0
    backend: Annotated[
        str,
        _Env("TRAINER_HOOKS_BACKEND"),
        "where actions find data collections and put models: a directory, or the address of a receiver's API",
    ] = "trainer_backend"
    serve_token: Annotated[
        str | None,
        _Env("TRAINER_HOOKS_SERVE_TOKEN", secret=True),
        "the bearer token that `trainer-hooks serve` asks for; jobs' own tokens follow from it",
    ] = None
    serve_token_file: Annotated[
        str | None,
        _Env("TRAINER_HOOKS_SERVE_TOKEN_FILE"),
        "a file that holds it, where TRAINER_HOOKS_SERVE_TOKEN is not set",
    ] = None
    serve_url: Annotated[
        str | None,
        _Env("TRAINER_HOOKS_SERVE_URL"),
        "where others reach `trainer-hooks serve` through a proxy: https://host or https://host/prefix",
    ] = None
    serve_store: Annotated[
        str | None,
        _Env("TRAINER_HOOKS_SERVE_STORE", secret=True),
        "a database that several `trainer-hooks serve` share: postgresql://user:password@host/name",
    ] = None
    model_directory: Annotated[
        str, _Env("TRAINER_HOOKS_MODEL_CACHE"), "where models are kept that an action begins with; jobs may share it"
    ] = "~/.cache/trainer_hooks/models"
    synapse_host: Annotated[
        str | None,
        _Env("SYNAPSE_HOST", "SYNAPSE_PLUGIN_RUN_URL_HOST"),
        "address of the Synapse backend, which then takes the place of `backend`",
    ] = None
    synapse_token: Annotated[
        str | None, _Env("SYNAPSE_ACCESS_TOKEN", secret=True), "sent to Synapse as Synapse-Access-Token"
    ] = None
    synapse_user_token: Annotated[
        str | None, _Env("SYNAPSE_PLUGIN_RUN_USER_TOKEN", secret=True), "sent to Synapse as Authorization"
    ] = None
    synapse_tenant: Annotated[
        str | None,
        _Env("SYNAPSE_PLUGIN_RUN_TENANT", secret=True),
        "sent to Synapse as Synapse-Tenant",
    ] = None
    synapse_job: Annotated[str | None, _Env("SYNAPSE_JOB_ID"), "the Synapse job that this work is"] = None
    resume: Annotated[
        Literal["never", "auto"],
        _Env("TRAINER_HOOKS_RESUME"),
        "auto: go on from the newest whole checkpoint of the run that run_id or job_id names, here or in storage",
    ] = "never"
    clearml: Annotated[
        bool | None,
        _Env("TRAINER_HOOKS_CLEARML"),
        "mirror the run to ClearML: 1 always, 0 never; by default where the training's process has a ClearML task",
    ] = None
    clearml_project: Annotated[
        str | None,
        _Env("TRAINER_HOOKS_CLEARML_PROJECT"),
        "the ClearML project of tasks that are made for runs; by default trainer_hooks",
    ] = None
    clearml_task: Annotated[
        str | None,
        _Env("TRAINER_HOOKS_CLEARML_TASK"),
        "the name of such a task; by default 'Training Job <job id>', or the run's id where there is no job",
    ] = None
    delivery: Annotated[
        Literal["process", "thread", "none"],
        _Env("TRAINER_HOOKS_DELIVERY"),
        "who delivers: a process of its own, a thread of the training, or nobody until `trainer-hooks sync`",
    ] = "process"
    flush_timeout: Annotated[
        float,
        Seconds,
        _Env("TRAINER_HOOKS_FLUSH_TIMEOUT"),
        "seconds the training waits at its end for delivery (5 at most where the platform was never reached)",
    ] = 30.0
    linger: Annotated[
        float,
        Seconds,
        _Env("TRAINER_HOOKS_LINGER"),
        "seconds the courier goes on trying after the run's end, at least flush_timeout; then `trainer-hooks sync`",
    ] = 900.0
    heartbeat: Annotated[
        float,
        Seconds,
        _Env("TRAINER_HOOKS_HEARTBEAT"),
        "seconds between two signs of life on disk, and to a platform that wants them; 0 for none",
    ] = 30.0
    stalled_after: Annotated[
        float,
        NotNegative,
        _Env("TRAINER_HOOKS_STALLED_AFTER"),
        "a training is stalled that tells nothing for so many times its usual epoch, and for two heartbeats; 0: never",
    ] = 10.0
    retry_delay: Annotated[
        float,
        Seconds,
        _Env("CALLBACK_RETRY_DELAY"),
        "seconds before the first retry of a delivery; doubled each time, at most 60",
    ] = 2.0
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR", "OFF"],
        _Env("TRAINER_HOOKS_LOG_LEVEL"),
        "the least level of the host's log records that is forwarded",
    ] = "INFO"
    iteration_metrics: Annotated[
        int,
        NotNegative,
        _Env("TRAINER_HOOKS_ITERATION_METRICS"),
        "forward the losses of every n-th iteration; 0 for none",
    ] = 0

    journal_limit: Annotated[
        int,
        NotNegative,
        _Env("TRAINER_HOOKS_JOURNAL_LIMIT"),
        "bytes of one process's journal beyond which iterations' metrics and progress are dropped and counted, log "
        "records from three quarters of it on; nothing else ever is; 0 for no limit",
    ] = 1 << 30

    @classmethod
    def load(cls, *, environ: Mapping[str, str] | None = None, **arguments: Any) -> Settings:
        """Resolve all settings; arguments that are None count as not given.

        Raises:
            InvalidSetting: for a value that can't be used, naming it, its source and what is allowed.
        """
        environ = os.environ if environ is None else environ
        values: dict[str, Any] = {}
        sources: dict[str, str] = {}
        layers = (_from_file(environ), _from_environment(environ), _from_arguments(arguments))
        for layer in layers:
            for name, (value, source) in layer.items():
                values[name] = _convert(name, value, source)
                sources[name] = source
        settings = cls(**values)
        settings.__dict__["sources"] = sources
        settings.check_addresses()
        return settings

    @cached_property
    def sources(self) -> Mapping[str, str]:
        """Where each value that isn't a default came from."""
        return {}

    @property
    def root(self) -> Path:
        """The directory of all runs, absolute."""
        return Path(_absolute(self.directory))

    @property
    def storage_uri(self) -> str | None:
        """Where checkpoints go, as one URI; None for nowhere."""
        if self.storage:
            return self.storage
        return f"s3://{self.storage_bucket}" if self.storage_bucket else None

    @property
    def dataset_storage_uri(self) -> str | None:
        """Where datasets come from, as one URI; None for nowhere."""
        if self.dataset_storage:
            return self.dataset_storage
        return f"s3://{self.dataset_bucket}" if self.dataset_bucket else None

    @property
    def cache_root(self) -> Path:
        """The directory of the dataset cache, absolute."""
        return Path(_absolute(self.dataset_cache))

    @property
    def model_cache(self) -> Path:
        """The directory of models that were fetched from a backend, absolute."""
        return Path(_absolute(self.model_directory))

    @property
    def resumes(self) -> bool:
        """Whether a training goes on where its run's newest attempt has ended."""
        return self.resume == "auto" and self.mode != "disabled"

    @property
    def has_courier(self) -> bool:
        """Whether anything is delivered while the training runs; else it waits for `trainer-hooks sync`."""
        return self.mode == "online" and self.delivery != "none"

    def bearer_token(self) -> str | None:
        """The platform's token, read anew each time: a token file may have been rotated.

        Raises:
            InvalidSetting: if the token file can't be read.
        """
        return self.token or _read_token(self.token_file, "TRAINER_HOOKS_TOKEN_FILE")

    def receiver_token(self) -> str | None:
        """The token that the receiver asks for; None for none.

        Raises:
            InvalidSetting: if the token file can't be read, or holds none: nobody is let in by mistake.
        """
        token = self.serve_token or _read_token(self.serve_token_file, "TRAINER_HOOKS_SERVE_TOKEN_FILE")
        if self.serve_token_file and not token:
            message = f"TRAINER_HOOKS_SERVE_TOKEN_FILE names {self.serve_token_file!r}, which is empty"
            raise InvalidSetting(message)
        return token

    @property
    def receiver_token_file(self) -> Path | None:
        """The file that the receiver's token is read from, and read again when it changes; None where it is none."""
        return Path(_absolute(self.serve_token_file)) if self.serve_token_file and not self.serve_token else None

    def secrets(self) -> list[str]:
        """The credentials among the values, those in addresses, and the one that the token file holds now."""
        values: list[str | None] = [getattr(self, name) for name, variable in ENVIRONMENT.items() if variable.secret]
        for read in (msgspec.structs.replace(self, token=None).bearer_token, self.receiver_token):
            with contextlib.suppress(InvalidSetting):
                values.append(read())
        addresses = (
            self.callback_url,
            self.synapse_host,
            self.storage,
            self.storage_endpoint,
            self.dataset_storage,
            self.dataset_endpoint,
            self.backend,
            self.serve_store,
        )
        for address in addresses:
            userinfo = _USERINFO.search(address or "")
            values.append(userinfo[0][:-1].partition(":")[2] if userinfo else None)
        return [value for value in values if value]

    def check_addresses(self) -> None:
        """Raise InvalidSetting if the address of a backend is none that HTTP can reach."""
        for name, form in _FORMS.items():
            address = getattr(self, name)
            is_directory = name == "backend" and not _LIKE_AN_ADDRESS.match(address)
            has_more = name == "serve_url" and address and not set("?#@").isdisjoint(address)
            if address is not None and not is_directory and (has_more or not _is_http_address(address)):
                source, shown = self.sources.get(name), without_userinfo(address)
                message = f"{name} ({source}) is {shown!r}; write the backend's address as {form}"
                raise InvalidSetting(message)

    def shown(self) -> dict[str, tuple[str, str]]:
        """Each setting's value and source as text that may be printed: credentials are masked."""
        return {
            name: (_masked(name, getattr(self, name)), self.sources.get(name, "default"))
            for name in self.__struct_fields__
        }

    def as_environment(self) -> dict[str, str]:
        """The variables that give another process these very settings, credentials included; unset ones are empty."""
        values = {name: getattr(self, name) for name in self.__struct_fields__}
        given = {other: "" for name in values for other in ENVIRONMENT[name].names[1:]}
        given |= {ENVIRONMENT[name].names[0]: "" if value is None else str(value) for name, value in values.items()}
        # In a process with another working directory, relative paths would mean other places, and so would the file.
        given["TRAINER_HOOKS_DIR"] = str(self.root)
        given["DATASET_CACHE_DIR"] = str(self.cache_root)
        given["TRAINER_HOOKS_MODEL_CACHE"] = str(self.model_cache)
        given["TRAINER_HOOKS_BACKEND"] = self.backend if "://" in self.backend else _absolute(self.backend)
        given["TRAINER_HOOKS_TOKEN_FILE"] = _absolute(self.token_file) if self.token_file else ""
        given["TRAINER_HOOKS_SERVE_TOKEN_FILE"] = _absolute(self.serve_token_file) if self.serve_token_file else ""
        given["TRAINER_HOOKS_CONFIG"] = os.devnull
        return given

    def as_public_environment(self) -> dict[str, str]:
        """The variables that give a process on another machine what is set here; no credential is among them."""
        given = self.as_environment()
        places = {variable: name for name in self.__struct_fields__ for variable in ENVIRONMENT[name].names}
        return {
            variable: without_userinfo(value)
            for variable, value in given.items()
            if variable in _TOLD_ALWAYS or (places[variable] in self.sources and not is_secret(places[variable]))
        }

    def credentials(self) -> list[str]:
        """The variables whose credentials are set here; they are not in `as_public_environment`."""
        return [
            ENVIRONMENT[name].names[0]
            for name in self.__struct_fields__
            if (value := getattr(self, name)) is not None and is_secret(name, value)
        ]

    def addresses(self) -> dict[str, Any]:
        """What a later `trainer-hooks sync` must know to deliver for this run; holds no credential."""
        kept = {name: getattr(self, name) for name in _ADDRESSES}
        kept["token_file"] = _absolute(self.token_file) if self.token_file else None
        return {name: without_userinfo(value) for name, value in kept.items() if value is not None}


_FORMS = {
    "callback_url": "https://host/api/v1",
    "synapse_host": "https://host",
    "backend": "https://host/api/v1, or name a directory",
    "serve_url": "https://host or https://host/prefix",
}
# Runs lie where the submitter looks for them; the file of settings has been read here.
_TOLD_ALWAYS = ("TRAINER_HOOKS_DIR", "TRAINER_HOOKS_CONFIG")
_ADDRESSES = (
    "job_id",
    "callback_url",
    "token_file",
    "storage",
    "storage_endpoint",
    "storage_bucket",
    "retry_delay",
    "clearml",
    "clearml_project",
    "clearml_task",
    "synapse_host",
    "synapse_job",
)


_TYPES: Mapping[str, Any] = {
    name: hint
    for name, hint in get_type_hints(Settings, include_extras=True).items()
    if name in Settings.__struct_fields__
}


def _metadata(of_type: type) -> dict[str, Any]:
    return {
        name: next(part for part in hint.__metadata__ if isinstance(part, of_type)) for name, hint in _TYPES.items()
    }


ENVIRONMENT: Mapping[str, _Env] = _metadata(_Env)
DESCRIPTIONS: Mapping[str, str] = _metadata(str)


def main_process_rank(environ: Mapping[str, str] | None = None) -> int:
    """This process's rank in a distributed job, by what the launcher has set; 0 where there is none.

    Asked at call time, not at import: launchers set it late. What is no number says nothing, nor does a rank that its
    own world has no room for: that is left over from elsewhere. `LOCAL_RANK` counts only where no global rank is known.
    """
    environ = os.environ if environ is None else environ
    for name, worlds in _RANKS.items():
        rank = _whole_number(environ, name)
        world = next((size for of in worlds if (size := _whole_number(environ, of)) is not None), None)
        if rank is not None and (world is None or rank < world):
            return rank
    local = _whole_number(environ, "LOCAL_RANK")
    if local is None:
        return 0
    # Lightning tells the node beside it, and the ranks per node no place at all.
    return (_whole_number(environ, "NODE_RANK") or 0) * (_whole_number(environ, "LOCAL_WORLD_SIZE") or 1) + local


def _whole_number(environ: Mapping[str, str], name: str) -> int | None:
    text = environ.get(name, "").strip()
    return int(text) if re.fullmatch(r"\d{1,9}", text, re.ASCII) else None


def has_other_ranks(environ: Mapping[str, str] | None = None) -> bool:
    """Whether this process is one of several ranks, as far as the launcher says so."""
    environ = os.environ if environ is None else environ
    worlds = (environ.get(name, "1").strip() for name in ("WORLD_SIZE", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE"))
    return any(world.isdecimal() and int(world) > 1 for world in worlds)


def is_on_one_machine(environ: Mapping[str, str] | None = None) -> bool:
    """Whether all ranks of this distributed launch are on this machine, as far as the launcher says so."""
    environ = os.environ if environ is None else environ
    world, local = environ.get("WORLD_SIZE"), environ.get("LOCAL_WORLD_SIZE")  # torchrun's
    if local is not None:
        return local == world
    return "1" in {environ.get("SLURM_STEP_NUM_NODES"), environ.get("SLURM_NNODES")}


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


_RAY_ADDRESSES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
_RAY_AUTHENTICATION = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
RAY_STOP_WAIT = "RAY_JOB_STOP_WAIT_TIME_S"
"""Of a Ray job: the seconds that it has between SIGTERM and SIGKILL when it is stopped."""


@contextlib.contextmanager
def ray_address(address: str) -> Iterator[None]:
    """Within this block Ray goes to that cluster: what its variables say would go before what it is given."""
    with _without(_RAY_ADDRESSES):
        os.environ["RAY_API_SERVER_ADDRESS"] = address
        yield


@contextlib.contextmanager
def ray_token(file: Path) -> Iterator[None]:
    """Within this block, clusters that Ray starts want the token in this file, and not one in the home directory.

    What the environment says of it goes before.
    """
    if any(os.environ.get(name) for name in _RAY_AUTHENTICATION):
        yield
        return
    with _without(_RAY_AUTHENTICATION):
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(file)
        yield


@contextlib.contextmanager
def ray_tune_as_a_part() -> Iterator[None]:
    """Within this block Ray Tune leaves Ctrl-C to this process, and prints and writes no tables of its own."""
    with _without(tuple(_RAY_TUNE)):
        os.environ.update(_RAY_TUNE)
        yield


@contextlib.contextmanager
def variables_set(variables: Mapping[str, str]) -> Iterator[None]:
    """Within this block these are set."""
    with _without(tuple(variables)):
        os.environ.update(variables)
        yield


@contextlib.contextmanager
def _without(names: Sequence[str]) -> Iterator[None]:
    """Within this block these are not set, nor is anything left of them that the block has set."""
    before = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        for name in names:
            os.environ.pop(name, None)
        os.environ.update(before)


def has_ray_cluster(environ: Mapping[str, str] | None = None) -> bool:
    """Whether Ray is told of a cluster that it is to connect to."""
    return bool((os.environ if environ is None else environ).get("RAY_ADDRESS"))


def launch_id(environ: Mapping[str, str] | None = None) -> str | None:
    """What the processes of this distributed launch have in common and no other launch has; None outside of one."""
    environ = os.environ if environ is None else environ
    return " ".join(environ[name] for name in _LAUNCH if environ.get(name)) or None


def is_secret(name: str, value: Any = None) -> bool:
    """Whether a setting of that name is a credential, or this value of it carries one."""
    return (name in ENVIRONMENT and ENVIRONMENT[name].secret) or without_userinfo(value) != value


def without_userinfo(value: Any) -> Any:
    """A URL without the `user:password@` that it may carry; anything else as it is."""
    return _USERINFO.sub("", value) if isinstance(value, str) else value


def _is_http_address(text: str) -> bool:
    """Whether it is one that HTTP can reach: the port a number that there is, the brackets those of an IPv6 address."""
    try:
        port = urlsplit(text).port
    except ValueError:
        return False
    return _HTTP_ADDRESS.match(text) is not None and port != 0


def _absolute(path: str) -> str:
    """The path from the root on; as it is given where there is no such home, or no working directory any more."""
    try:
        return str(Path(path).expanduser().absolute())
    except (OSError, RuntimeError):
        return path


def _read_token(file: str | None, variable: str) -> str | None:
    if not file:
        return None
    try:
        return Path(_absolute(file)).read_text().strip() or None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        message = f"{variable} names {file!r}, which can't be read: {reason}"
        raise InvalidSetting(message) from error


_Layer = dict[str, tuple[Any, str]]


def _from_arguments(arguments: Mapping[str, Any]) -> _Layer:
    for name in arguments:
        if name not in Settings.__struct_fields__:
            message = f"{name!r} is not a setting (known: {', '.join(Settings.__struct_fields__)})"
            raise InvalidSetting(message)
    return {name: (value, "argument") for name, value in arguments.items() if value is not None}


def _from_environment(environ: Mapping[str, str]) -> _Layer:
    # An empty variable counts as unset: compose files and Helm charts write those for "nothing". And what comes from a
    # file, as a secret in Kubernetes often does, has a newline at its end.
    return {
        name: (environ[variable].strip(), variable)
        for name, env in ENVIRONMENT.items()
        for variable in reversed(env.names)  # so that the first goes before the others
        if environ.get(variable, "").strip()
    }


def _from_file(environ: Mapping[str, str]) -> _Layer:
    named = environ.get("TRAINER_HOOKS_CONFIG")
    path = Path(named or _CONFIG_FILE).expanduser()
    try:
        text = path.read_bytes()
    except OSError as error:
        if not named:
            return {}
        message = f"TRAINER_HOOKS_CONFIG names {named!r}, which can't be read: {error.strerror}"
        raise InvalidSetting(message) from error
    try:
        table = _parse_toml(text)
    except ValueError as error:
        message = f"{path}: not valid TOML: {error}"
        raise InvalidSetting(message) from error
    for name in table:
        if name not in ENVIRONMENT:
            message = f"{path}: {name!r} is not a setting (known: {', '.join(ENVIRONMENT)})"
            raise InvalidSetting(message)
        if ENVIRONMENT[name].secret:
            message = f"{path}: {name!r} is a credential; set {ENVIRONMENT[name].names[0]} in the environment instead"
            raise InvalidSetting(message)
    return {name: (value, str(path)) for name, value in table.items()}


def _parse_toml(text: bytes) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.loads(text.decode())


def _convert(name: str, value: Any, source: str) -> Any:
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    try:
        return msgspec.convert(value, _TYPES[name], strict=False)
    except msgspec.ValidationError as error:
        shown = "(a credential)" if ENVIRONMENT[name].secret else repr(value)
        message = f"setting {name!r} from {source} can't be {shown}: {_allowed(name, error)} ({DESCRIPTIONS[name]})"
        raise InvalidSetting(message) from error


def _allowed(name: str, error: msgspec.ValidationError) -> str:
    kind = _TYPES[name].__origin__
    if get_origin(kind) is Literal:
        return f"one of {', '.join(get_args(kind))}"
    return "1, true, 0 or false" if bool in get_args(kind) else str(error)


def _masked(name: str, value: Any) -> str:
    if value is None:
        return "-"
    return "****" if ENVIRONMENT[name].secret else str(without_userinfo(value))


def environment() -> dict[str, str]:
    """A copy of the whole environment: for a child process, and to know which values are secret."""
    return dict(os.environ)


# What predecessor B's launcher tells a job, for `trainer_hooks.trainer_sdk` alone. Nothing above knows of it.


class BasicConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A job's hyper-parameters: each from its own variable, else from CONFIG, else from its older variable."""

    imgsz: Annotated[int, _Env("IMGSZ", "CONFIG_IMGSZ")] = 640
    epochs: Annotated[int, _Env("EPOCHS", "CONFIG_EPOCHS")] = 100
    batch: Annotated[int | float, _Env("BATCH_SIZE", "CONFIG_BATCH")] = 16
    learning_rate: Annotated[float, _Env("LEARNING_RATE", "CONFIG_LR0")] = 0.01
    optimizer: Annotated[str, _Env("OPTIMIZER", "CONFIG_OPTIMIZER")] = "auto"
    augment: Annotated[bool, _Env("AUGMENT", "CONFIG_AUGMENT")] = True
    device: Annotated[str, _Env("DEVICE", "CONFIG_DEVICE")] = "0"
    workers: Annotated[int, _Env("WORKERS", "CONFIG_WORKERS")] = 8
    patience: Annotated[int, _Env("PATIENCE", "CONFIG_PATIENCE")] = 50


class JobConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What a job of predecessor B's platform is about. Build with `load`."""

    task_type: Annotated[str, _Env("TASK_TYPE")] = "detection"
    model_name: Annotated[str, _Env("MODEL_NAME")] = ""
    framework: Annotated[str, _Env("FRAMEWORK")] = ""
    dataset_id: Annotated[str, _Env("DATASET_ID")] = ""
    snapshot_id: Annotated[str, _Env("SNAPSHOT_ID")] = ""
    dataset_version_hash: Annotated[str, _Env("DATASET_VERSION_HASH")] = ""
    basic: BasicConfig
    advanced: dict[str, Any]

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None) -> JobConfig:
        """Read the job's variables; an empty one counts as unset.

        Raises:
            InvalidSetting: for a value that can't be used; CONFIG and ADVANCED_CONFIG must be JSON objects.
        """
        environ = os.environ if environ is None else environ
        config = _json_object(environ, "CONFIG")
        advanced = config.get("advanced_config")
        if advanced is None:
            advanced = _json_object(environ, "ADVANCED_CONFIG")
        elif not isinstance(advanced, dict):
            raise InvalidSetting("'advanced_config' in CONFIG is not a JSON object; correct or remove it")
        basic = BasicConfig(**_job_values(BasicConfig, environ, config))
        return cls(**_job_values(cls, environ, {}), basic=basic, advanced=advanced)


_BOOLEANS = {
    **dict.fromkeys(("true", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "0", "no", "off"), False),
}


def _json_object(environ: Mapping[str, str], variable: str) -> dict[str, Any]:
    text = environ.get(variable, "").strip()
    try:
        return msgspec.json.decode(text, type=dict[str, Any]) if text else {}
    except msgspec.MsgspecError as error:
        # Not shown: configurations of jobs have carried credentials.
        message = f"{variable} must be a JSON object: {error}; correct it, or remove it for the defaults"
        raise InvalidSetting(message) from error


def _job_values(struct: type[msgspec.Struct], environ: Mapping[str, str], config: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, hint in get_type_hints(struct, include_extras=True).items():
        env = next((part for part in getattr(hint, "__metadata__", ()) if isinstance(part, _Env)), None)
        if env is None:
            continue
        own, *older = env.names
        candidates = [(environ.get(own), own), (config.get(name), f"CONFIG ({name})")]
        candidates += [(environ.get(variable), variable) for variable in older]
        given = next(((value, source) for value, source in candidates if value not in (None, "")), None)
        if given is not None:
            values[name] = _job_value(name, hint, *given)
    return values


def _job_value(name: str, hint: Any, value: Any, source: str) -> Any:
    kind = hint.__origin__
    if kind is bool and isinstance(value, (str, int)):
        value = _BOOLEANS.get(str(value).strip().lower(), value)
    if kind is str and isinstance(value, int):  # a device: 0
        value = str(value)
    try:
        return msgspec.convert(value, kind, strict=kind in (bool, str))
    except msgspec.ValidationError as error:
        allowed = "true, 1, yes, on or false, 0, no, off" if kind is bool else str(error)
        message = f"the job's {name!r} from {source} can't be {value!r}: {allowed}"
        raise InvalidSetting(message) from error


_WITHIN = "TRAINER_HOOKS_WITHIN"


@contextlib.contextmanager
def told_to_children(run_directory: Path, attempt: int) -> Iterator[None]:
    """Processes that are started within this block know of which run they are part."""
    with _without([_WITHIN]):
        os.environ[_WITHIN] = f"{attempt}:{run_directory}"
        yield


def run_above(environ: Mapping[str, str] | None = None) -> tuple[Path, int] | None:
    """The directory and the attempt of the run that this process was started within; None where there is none."""
    attempt, _, directory = (os.environ if environ is None else environ).get(_WITHIN, "").partition(":")
    return (Path(directory), int(attempt)) if attempt.isdecimal() and directory else None


# What predecessor A tells the process that is to run an action.


class ActionCall(msgspec.Struct, frozen=True, kw_only=True):
    """Which action, with which parameters: as text, else in a file. Build with `load`."""

    entrypoint: str | None = None
    params: str | None = None
    params_file: str | None = None

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None) -> ActionCall:
        """Read the variables; an empty one counts as unset."""
        environ = os.environ if environ is None else environ
        return cls(**{name: environ.get(f"SYNAPSE_ACTION_{name.upper()}") or None for name in cls.__struct_fields__})


AUTOLOG = "TRAINER_HOOKS_AUTOLOG"
SUPERVISOR = "TRAINER_HOOKS_SUPERVISOR"


def autolog_frameworks(environ: Mapping[str, str] | None = None) -> list[str]:
    """The frameworks that `trainer-hooks run` attaches to, as TRAINER_HOOKS_AUTOLOG lists them; empty: all known."""
    listed = (os.environ if environ is None else environ).get(AUTOLOG, "")
    return [name.strip() for name in listed.split(",") if name.strip()]


def supervisor_name(environ: Mapping[str, str] | None = None) -> str | None:
    """Which process the `trainer-hooks run` is that this one descends from; None where there is none."""
    return (os.environ if environ is None else environ).get(SUPERVISOR) or None

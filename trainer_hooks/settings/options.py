"""What can be set: each option with its variable, its meaning and its default. A new one is added here alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_type_hints

import msgspec
from msgspec import Meta


class Env:
    """Where a setting is found in the environment, the first name before the others; whether it must never be shown."""

    def __init__(self, *names: str, secret: bool = False) -> None:
        self.names = names
        self.secret = secret


NotNegative = Meta(ge=0)
# Not for ever: no wait is without a bound.
Seconds = Meta(ge=0, le=1e9)


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that can be set: its type, its variable, what it means, its default."""

    mode: Annotated[
        Literal["online", "offline", "disabled"],
        Env("TRAINER_HOOKS_MODE"),
        "online delivers; offline only writes the journal, for a later sync; disabled does nothing at all",
    ] = "online"
    directory: Annotated[str, Env("TRAINER_HOOKS_DIR"), "where the run directories are made"] = "trainer_runs"
    run_id: Annotated[
        str | None, Env("TRAINER_HOOKS_RUN_ID"), "the run's name; the same name again is its next attempt"
    ] = None
    job_id: Annotated[str | None, Env("JOB_ID"), "the platform's job that this training is"] = None
    callback_url: Annotated[str | None, Env("CALLBACK_URL"), "base address of the platform's API, with /api/v1"] = None
    token: Annotated[str | None, Env("TRAINER_HOOKS_TOKEN", secret=True), "sent to the platform as a bearer token"] = (
        None
    )
    token_file: Annotated[
        str | None,
        Env("TRAINER_HOOKS_TOKEN_FILE"),
        "a file that holds the token; read again when the platform refuses it",
    ] = None
    storage: Annotated[
        str | None,
        Env("TRAINER_HOOKS_STORAGE"),
        "where checkpoints go: s3://bucket/prefix or file:///path",
    ] = None
    storage_endpoint: Annotated[
        str | None, Env("INTERNAL_STORAGE_ENDPOINT"), "address of the S3 server, where it isn't AWS"
    ] = None
    storage_access_key: Annotated[
        str | None,
        Env("INTERNAL_STORAGE_ACCESS_KEY", secret=True),
        "S3 access key; without it boto3's own chain is asked",
    ] = None
    storage_secret_key: Annotated[str | None, Env("INTERNAL_STORAGE_SECRET_KEY", secret=True), "S3 secret key"] = None
    storage_bucket: Annotated[
        str | None,
        Env("INTERNAL_BUCKET_CHECKPOINTS"),
        "bucket for checkpoints where TRAINER_HOOKS_STORAGE is not set",
    ] = None
    dataset_storage: Annotated[
        str | None,
        Env("TRAINER_HOOKS_DATASET_STORAGE"),
        "where datasets come from: s3://bucket/prefix or file:///path, with datasets/<id>/ in it",
    ] = None
    dataset_endpoint: Annotated[
        str | None, Env("EXTERNAL_STORAGE_ENDPOINT"), "address of the S3 server of the datasets, where it isn't AWS"
    ] = None
    dataset_access_key: Annotated[
        str | None,
        Env("EXTERNAL_STORAGE_ACCESS_KEY", secret=True),
        "S3 access key for datasets; without it boto3's own chain is asked",
    ] = None
    dataset_secret_key: Annotated[
        str | None, Env("EXTERNAL_STORAGE_SECRET_KEY", secret=True), "S3 secret key for datasets"
    ] = None
    dataset_bucket: Annotated[
        str | None,
        Env("EXTERNAL_BUCKET_DATASETS"),
        "bucket of the datasets where TRAINER_HOOKS_DATASET_STORAGE is not set",
    ] = None
    dataset_allow: Annotated[
        str | None,
        Env("TRAINER_HOOKS_DATASET_ALLOW"),
        "what a list of annotations may name, as beginnings of addresses with commas between; by default any address",
    ] = None
    dataset_cache: Annotated[
        str, Env("DATASET_CACHE_DIR"), "where fetched datasets are kept for the next job; jobs may share it"
    ] = "~/.cache/trainer_hooks/datasets"
    dataset_cache_max_gb: Annotated[
        float,
        NotNegative,
        Env("DATASET_CACHE_MAX_GB"),
        "how large the cache may grow, in units of 10^9 bytes; datasets in use don't go",
    ] = 50.0
    backend: Annotated[
        str,
        Env("TRAINER_HOOKS_BACKEND"),
        "where actions find data collections and put models: a directory, or the address of a receiver's API",
    ] = "trainer_backend"
    serve_token: Annotated[
        str | None,
        Env("TRAINER_HOOKS_SERVE_TOKEN", secret=True),
        "the bearer token that `trainer-hooks serve` asks for; jobs' own tokens follow from it",
    ] = None
    serve_token_file: Annotated[
        str | None,
        Env("TRAINER_HOOKS_SERVE_TOKEN_FILE"),
        "a file that holds it, where TRAINER_HOOKS_SERVE_TOKEN is not set",
    ] = None
    serve_url: Annotated[
        str | None,
        Env("TRAINER_HOOKS_SERVE_URL"),
        "where others reach `trainer-hooks serve` through a proxy: https://host or https://host/prefix",
    ] = None
    serve_store: Annotated[
        str | None,
        Env("TRAINER_HOOKS_SERVE_STORE", secret=True),
        "a database that several `trainer-hooks serve` share: postgresql://user:password@host/name",
    ] = None
    model_directory: Annotated[
        str, Env("TRAINER_HOOKS_MODEL_CACHE"), "where models are kept that an action begins with; jobs may share it"
    ] = "~/.cache/trainer_hooks/models"
    synapse_host: Annotated[
        str | None,
        Env("SYNAPSE_HOST", "SYNAPSE_PLUGIN_RUN_URL_HOST"),
        "address of the Synapse backend, which then takes the place of `backend`",
    ] = None
    synapse_token: Annotated[
        str | None, Env("SYNAPSE_ACCESS_TOKEN", secret=True), "sent to Synapse as Synapse-Access-Token"
    ] = None
    synapse_user_token: Annotated[
        str | None, Env("SYNAPSE_PLUGIN_RUN_USER_TOKEN", secret=True), "sent to Synapse as Authorization"
    ] = None
    synapse_tenant: Annotated[
        str | None,
        Env("SYNAPSE_PLUGIN_RUN_TENANT", secret=True),
        "sent to Synapse as Synapse-Tenant",
    ] = None
    synapse_job: Annotated[str | None, Env("SYNAPSE_JOB_ID"), "the Synapse job that this work is"] = None
    resume: Annotated[
        Literal["never", "auto"],
        Env("TRAINER_HOOKS_RESUME"),
        "auto: go on from the newest whole checkpoint of the run that run_id or job_id names, here or in storage",
    ] = "never"
    clearml: Annotated[
        bool | None,
        Env("TRAINER_HOOKS_CLEARML"),
        "mirror the run to ClearML: 1 always, 0 never; by default where the training's process has a ClearML task",
    ] = None
    clearml_project: Annotated[
        str | None,
        Env("TRAINER_HOOKS_CLEARML_PROJECT"),
        "the ClearML project of tasks that are made for runs; by default trainer_hooks",
    ] = None
    clearml_task: Annotated[
        str | None,
        Env("TRAINER_HOOKS_CLEARML_TASK"),
        "the name of such a task; by default 'Training Job <job id>', or the run's id where there is no job",
    ] = None
    delivery: Annotated[
        Literal["process", "thread", "none"],
        Env("TRAINER_HOOKS_DELIVERY"),
        "who delivers: a process of its own, a thread of the training, or nobody until `trainer-hooks sync`",
    ] = "process"
    flush_timeout: Annotated[
        float,
        Seconds,
        Env("TRAINER_HOOKS_FLUSH_TIMEOUT"),
        "seconds the training waits at its end for delivery (5 at most where the platform was never reached)",
    ] = 30.0
    linger: Annotated[
        float,
        Seconds,
        Env("TRAINER_HOOKS_LINGER"),
        "seconds the courier goes on trying after the run's end, at least flush_timeout; then `trainer-hooks sync`",
    ] = 900.0
    heartbeat: Annotated[
        float,
        Seconds,
        Env("TRAINER_HOOKS_HEARTBEAT"),
        "seconds between two signs of life on disk, and to a platform that wants them; 0 for none",
    ] = 30.0
    stalled_after: Annotated[
        float,
        NotNegative,
        Env("TRAINER_HOOKS_STALLED_AFTER"),
        "a training is stalled that tells nothing for so many times its usual epoch, and for two heartbeats; 0: never",
    ] = 10.0
    retry_delay: Annotated[
        float,
        Seconds,
        Env("CALLBACK_RETRY_DELAY"),
        "seconds before the first retry of a delivery; doubled each time, at most 60",
    ] = 2.0
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR", "OFF"],
        Env("TRAINER_HOOKS_LOG_LEVEL"),
        "the least level of the host's log records that is forwarded",
    ] = "INFO"
    iteration_metrics: Annotated[
        int,
        NotNegative,
        Env("TRAINER_HOOKS_ITERATION_METRICS"),
        "forward the losses of every n-th iteration; 0 for none",
    ] = 0

    journal_limit: Annotated[
        int,
        NotNegative,
        Env("TRAINER_HOOKS_JOURNAL_LIMIT"),
        "bytes of one process's journal beyond which iterations' metrics and progress are dropped and counted, log "
        "records from three quarters of it on; nothing else ever is; 0 for no limit",
    ] = 1 << 30


TYPES: Mapping[str, Any] = {
    name: hint
    for name, hint in get_type_hints(Options, include_extras=True).items()
    if name in Options.__struct_fields__
}


def _metadata(of_type: type) -> dict[str, Any]:
    return {name: next(part for part in hint.__metadata__ if isinstance(part, of_type)) for name, hint in TYPES.items()}


ENVIRONMENT: Mapping[str, Env] = _metadata(Env)
DESCRIPTIONS: Mapping[str, str] = _metadata(str)

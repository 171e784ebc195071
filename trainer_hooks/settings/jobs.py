"""What the platforms of the predecessors tell a job: B's for `trainer_sdk`, A's (`ActionCall`) for actions."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Any, get_type_hints

import msgspec

from trainer_hooks.errors import InvalidSetting
from trainer_hooks.settings.options import Env

_BOOLEANS = {
    **dict.fromkeys(("true", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "0", "no", "off"), False),
}


class BasicConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A job's hyper-parameters: each from its own variable, else from CONFIG, else from its older variable."""

    imgsz: Annotated[int, Env("IMGSZ", "CONFIG_IMGSZ")] = 640
    epochs: Annotated[int, Env("EPOCHS", "CONFIG_EPOCHS")] = 100
    batch: Annotated[int | float, Env("BATCH_SIZE", "CONFIG_BATCH")] = 16
    learning_rate: Annotated[float, Env("LEARNING_RATE", "CONFIG_LR0")] = 0.01
    optimizer: Annotated[str, Env("OPTIMIZER", "CONFIG_OPTIMIZER")] = "auto"
    augment: Annotated[bool, Env("AUGMENT", "CONFIG_AUGMENT")] = True
    device: Annotated[str, Env("DEVICE", "CONFIG_DEVICE")] = "0"
    workers: Annotated[int, Env("WORKERS", "CONFIG_WORKERS")] = 8
    patience: Annotated[int, Env("PATIENCE", "CONFIG_PATIENCE")] = 50


class JobConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What a job of predecessor B's platform is about. Build with `load`."""

    task_type: Annotated[str, Env("TASK_TYPE")] = "detection"
    model_name: Annotated[str, Env("MODEL_NAME")] = ""
    framework: Annotated[str, Env("FRAMEWORK")] = ""
    dataset_id: Annotated[str, Env("DATASET_ID")] = ""
    snapshot_id: Annotated[str, Env("SNAPSHOT_ID")] = ""
    dataset_version_hash: Annotated[str, Env("DATASET_VERSION_HASH")] = ""
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


class ActionCall(msgspec.Struct, frozen=True, kw_only=True):
    """Which action the process is to run, with which parameters: as text, else in a file. Build with `load`."""

    entrypoint: str | None = None
    params: str | None = None
    params_file: str | None = None

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None) -> ActionCall:
        """Read the variables; an empty one counts as unset."""
        environ = os.environ if environ is None else environ
        return cls(**{name: environ.get(f"SYNAPSE_ACTION_{name.upper()}") or None for name in cls.__struct_fields__})


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
        env = next((part for part in getattr(hint, "__metadata__", ()) if isinstance(part, Env)), None)
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

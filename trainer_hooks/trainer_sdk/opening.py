"""Which run a job's SDK tells, and with which settings."""

from __future__ import annotations

from typing import Any

from trainer_hooks.errors import InvalidSetting
from trainer_hooks.run import Run, current_run
from trainer_hooks.settings import Settings

# The bucket that B's SDK takes where only the server's address is given, as its launcher does.
_DEFAULT_BUCKET = "training-checkpoints"


def load_settings() -> Settings:
    """The settings, as B's trainers want them where nothing else is said.

    Raises:
        InvalidSetting: where CALLBACK_URL or JOB_ID is missing, or a variable has a value that can't be used.
    """
    settings = Settings.load()
    given = {"CALLBACK_URL": settings.callback_url, "JOB_ID": settings.job_id}
    missing = " and ".join(variable for variable, value in given.items() if not value)
    if missing and settings.mode == "online":
        message = (
            f"{missing} not set: TrainerSDK needs CALLBACK_URL (the platform's address, with /api/v1) and JOB_ID; "
            "without a platform, set TRAINER_HOOKS_MODE=offline"
        )
        raise InvalidSetting(message)
    wanted: dict[str, Any] = {}
    if settings.storage_uri is None and settings.storage_endpoint:
        wanted["storage_bucket"] = _DEFAULT_BUCKET
    if "log_level" not in settings.sources:
        wanted["log_level"] = "OFF"  # B's trainers forward their own log records, by `log`
    return Settings.load(**wanted)


def open_run_of(job: str | None) -> Run | None:
    """The run that this process has open for the job already: of an earlier TrainerSDK, or of an integration."""
    run = current_run()
    return run if run and job and run.settings.job_id == job else None

"""The job, as the environment describes it."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from trainer_hooks.run import Run
from trainer_hooks.settings import Settings
from trainer_hooks.settings.jobs import JobConfig


class JobCalls:
    """What a trainer asks about its job."""

    _config: JobConfig
    _settings: Settings
    _run: Run

    @property
    def job_id(self) -> str:
        """JOB_ID; the run's own id where there is no job."""
        return self._settings.job_id or self._run.id or ""

    @property
    def callback_url(self) -> str:
        """CALLBACK_URL."""
        return self._settings.callback_url or ""

    @property
    def task_type(self) -> str:
        """TASK_TYPE."""
        return self._config.task_type

    @property
    def model_name(self) -> str:
        """MODEL_NAME."""
        return self._config.model_name

    @property
    def framework(self) -> str:
        """FRAMEWORK."""
        return self._config.framework

    @property
    def dataset_id(self) -> str:
        """DATASET_ID."""
        return self._config.dataset_id

    @property
    def snapshot_id(self) -> str:
        """SNAPSHOT_ID."""
        return self._config.snapshot_id

    @property
    def dataset_version_hash(self) -> str:
        """DATASET_VERSION_HASH."""
        return self._config.dataset_version_hash

    def get_basic_config(self) -> dict[str, Any]:
        """imgsz, epochs, batch, learning_rate, optimizer, augment, device, workers, patience."""
        return cast("dict[str, Any]", msgspec.to_builtins(self._config.basic))

    def get_advanced_config(self) -> dict[str, Any]:
        """CONFIG's `advanced_config`, else ADVANCED_CONFIG."""
        return dict(self._config.advanced)

    def get_full_config(self) -> dict[str, Any]:
        """Both configurations, under "basic" and "advanced"."""
        return {"basic": self.get_basic_config(), "advanced": self.get_advanced_config()}

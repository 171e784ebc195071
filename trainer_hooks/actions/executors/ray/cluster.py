"""A Ray cluster on this machine, for this process's actions alone."""

from __future__ import annotations

import contextlib
import functools
import logging
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

import ray

from trainer_hooks.errors import ActionError
from trainer_hooks.settings import ray_token


@contextlib.contextmanager
def own_cluster() -> Iterator[str]:
    """A cluster on this machine, of processes that end with this block, or with this process; yields its address."""
    if ray.is_initialized():
        message = "this process is connected to a Ray cluster: give its address, or call ray.shutdown() before"
        raise ActionError(message)
    with ray_token(_token()):
        context = ray.init("local", include_dashboard=True, log_to_driver=False, logging_level=logging.WARNING)
        try:
            if not context.dashboard_url:
                message = 'Ray has started no dashboard, which takes the jobs: pip install "ray[default]"'
                raise ActionError(message)
            yield f"http://{context.dashboard_url}"
        finally:
            ray.shutdown()


@functools.cache
def _token() -> Path:
    """The token of this process's clusters; Ray keeps the first that it has read."""
    file = Path(_private_folder().name) / "token"
    file.write_text(secrets.token_hex(32))
    return file


@functools.cache
def _private_folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="trainer_hooks-ray-")

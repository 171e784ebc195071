"""How long a training waits for its courier at the end."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from trainer_hooks import start_run
from trainer_hooks.courier.start import start_delivery
from trainer_hooks.journal import sizes
from trainer_hooks.settings import Settings

_MOST = 60.0


@pytest.mark.slow
def test_a_storage_that_lacks_nothing_does_not_make_it_wait_longer_for_a_platform_that_is_not_there(
    own_environment: Path, tmp_path: Path
) -> None:
    with start_run(run_id="7", delivery="none", log_level="OFF") as run:
        run.log_metrics({"loss": 0.5}, epoch=1)
    settings = Settings.load(
        callback_url="http://127.0.0.1:9/api/v1",
        job_id="7",
        storage=f"file://{tmp_path}/storage",
        delivery="thread",
        linger=_MOST,
    )
    directory = own_environment / "7"
    delivery, _ = start_delivery(directory, 1, settings)
    assert delivery is not None
    began = time.monotonic()
    assert not delivery.wait(sizes(directory), _MOST)
    assert time.monotonic() - began < _MOST / 2
    delivery.close()

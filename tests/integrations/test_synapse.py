"""A real training told to a job of Synapse's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hosts import scripts
from tests.hosts import ultralytics as host
from tests.servers.synapse_jobs import TOKENS, SynapseServer
from trainer_hooks.ledger import read_ledger

pytestmark = [pytest.mark.framework, pytest.mark.timeout(120)]


def test_a_training_of_ultralytics(tmp_path: Path, own_environment: Path) -> None:
    with SynapseServer("41", tokens=TOKENS) as server:
        done = scripts.run(
            host,
            tmp_path,
            "--autolog",
            "--plots",
            TRAINER_HOOKS_FLUSH_TIMEOUT="60",
            SYNAPSE_HOST=server.url,
            SYNAPSE_JOB_ID="41",
            SYNAPSE_ACCESS_TOKEN=TOKENS["Synapse-Access-Token"],
            SYNAPSE_PLUGIN_RUN_USER_TOKEN=TOKENS["Authorization"],
            SYNAPSE_PLUGIN_RUN_TENANT=TOKENS["Synapse-Tenant"],
        )
    assert done.returncode == 0, done.stderr
    assert server.statuses == ["RUNNING", "SUCCEEDED"]
    assert server.job["progress_record"]["current_progress"]["overall"] == 100.0
    assert server.job["result"]["epochs"] == 2
    points = {(category, value): metrics for category, _, value, metrics in server.points()}
    assert {place for place in points if points[place]} >= {("train", 1), ("train", 2), ("validation", 2)}
    assert {"box_loss", "cls_loss", "dfl_loss"} <= points["train", 1].keys()
    assert "metrics/mAP50-95(B)" in points["validation", 2]
    assert {entry["data"]["category"] for entry in server.entries("visualization")} == {"train", "validation"}
    assert not list((own_environment / "41" / "images").iterdir())
    ledger = read_ledger(own_environment / "41")
    assert (ledger.pending, ledger.rejected, ledger.is_balanced) == (0, 0, True)

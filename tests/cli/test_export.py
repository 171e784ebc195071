"""`runs export` to other tools' formats, read back by the tools themselves."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from tests.cli.parts import invoke, write_run
from trainer_hooks.events import (
    AnyEvent,
    CheckpointStored,
    EpochEnded,
    MetricsLogged,
    RunCompleted,
    RunFailed,
    RunStarted,
    Validated,
)

WHY = "exports have an environment of their own: make test-export"
FIRST: list[AnyEvent] = [
    RunStarted(model="yolo11n", params={"lr": 0.01, "optimizer": {"name": "sgd"}}),
    MetricsLogged(metrics={"loss": 5}, iteration=10),
    EpochEnded(epoch=1, metrics={"metrics/mAP50(B)": 0.5}),
    EpochEnded(epoch=2, metrics={"metrics/mAP50(B)": "NaN"}),
    Validated(metrics={"map": 0.25}, epoch=2),
    EpochEnded(epoch=3, metrics={"metrics/mAP50(B)": 0.1}),
    RunFailed(error="ResourceError", message="no memory"),
]
SECOND: list[AnyEvent] = [
    RunStarted(model="yolo11n", params={"lr": 0.01}, resumed_from="last"),
    EpochEnded(epoch=3, metrics={"metrics/mAP50(B)": 0.75}),
    CheckpointStored(
        name="best", uri="s3://b/best.pt", manifest_uri="s3://b/best.json", size=4, sha256="ab" * 32, epoch=3
    ),
    RunCompleted(epochs=3),
]


@pytest.fixture
def run(own_environment: Path) -> Path:
    write_run(own_environment, "ab", FIRST)
    return write_run(own_environment, "ab", SECOND, attempt=2)


def export(*arguments: object) -> str:
    result = invoke("runs", "export", *map(str, arguments))
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name one RUN, or give --all"),
        (["ab", "--all"], "name one RUN, or give --all"),
        (["ab", "--format", "parquet"], "-o runs.parquet"),
        (["--all", "--format", "csv"], "take --format parquet"),
    ],
)
def test_what_can_not_be_is_said(run: Path, own_environment: Path, arguments: list[str], said: str) -> None:
    assert run
    write_run(own_environment, "c", [RunStarted()])
    result = invoke("runs", "export", *arguments)
    assert result.exit_code == 2
    assert said in result.output


def test_all_runs_as_lines(run: Path, own_environment: Path) -> None:
    assert run
    write_run(own_environment, "c", [RunStarted()])
    lines = export("--all").splitlines()
    assert {line.partition('"run":"')[2].partition('"')[0] for line in lines} == {"ab", "c"}


def test_parquet(run: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason=WHY)
    assert run
    export("ab", "--format", "parquet", "-o", tmp_path / "a.parquet")
    rows = parquet.read_table(tmp_path / "a.parquet").to_pylist()
    assert [(row["attempt"], row["metric"], row["axis"], row["step"]) for row in rows] == [
        (1, "loss", "iteration", 10),
        (1, "metrics/mAP50(B)", "epoch", 1),
        (1, "metrics/mAP50(B)", "epoch", 2),
        (1, "map", "epoch", 2),
        (1, "metrics/mAP50(B)", "epoch", 3),
        (2, "metrics/mAP50(B)", "epoch", 3),
    ]
    assert {row["run"] for row in rows} == {"ab"}
    assert math.isnan(rows[2]["value"])
    assert rows[0]["time"].tzinfo is not None


def test_a_parquet_file_that_can_not_be_written_leaves_the_old_one(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow.parquet", reason=WHY)
    assert run
    result = invoke("runs", "export", "ab", "--format", "parquet", "-o", str(tmp_path / "none" / "a.parquet"))
    assert result.exit_code == 2
    assert "No such file" in result.output
    assert not [path for path in tmp_path.iterdir() if "parquet" in path.name]


def test_tensorboard(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason=WHY)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert run
    for _ in range(2):
        export("ab", "--format", "tensorboard", "-o", tmp_path / "logs")
    (file,) = (tmp_path / "logs" / "ab").iterdir()
    found = EventAccumulator(str(file))
    found.Reload()
    scalars = [(one.step, one.value) for one in found.Scalars("metrics/mAP50(B)")]
    assert (scalars[0], scalars[-1]) == ((1, 0.5), (3, 0.75))
    assert [step for step, _ in scalars] == [1, 2, 3], "what the resumed attempt told anew replaces the first"
    assert math.isnan(scalars[1][1])
    assert [one.step for one in found.Scalars("loss (iteration)")] == [10]
    assert b"| optimizer" not in found.Tensors("parameters/text_summary")[0].tensor_proto.string_val[0]
    assert b"| lr | 0.01 |" in found.Tensors("parameters/text_summary")[0].tensor_proto.string_val[0]


def client(uri: str) -> Any:
    pytest.importorskip("mlflow", reason=WHY)
    pytest.importorskip("alembic", reason=WHY)
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


@pytest.mark.filterwarnings("default")  # of MLflow, SQLAlchemy and their like
def test_mlflow(run: Path, own_environment: Path, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    mlflow = client(uri)
    assert run
    for _ in range(2):
        export("ab", "--format", "mlflow", "-o", uri, "--experiment", "shapes")
    experiment = mlflow.get_experiment_by_name("shapes").experiment_id
    (found,) = mlflow.search_runs([experiment])
    assert (found.info.run_name, found.info.status) == ("ab", "FINISHED")
    assert found.data.params["lr"] == "0.01"
    assert found.data.tags["checkpoint.best"] == "s3://b/best.pt"
    history = mlflow.get_metric_history(found.info.run_id, "metrics/mAP50B")
    assert [(one.step, one.value) for one in history if not math.isnan(one.value)] == [(1, 0.5), (3, 0.1), (3, 0.75)]
    assert len(history) == 4
    assert [one.step for one in mlflow.get_metric_history(found.info.run_id, "loss iteration")] == [10]
    write_run(own_environment, "ab", [RunStarted(), EpochEnded(epoch=4, metrics={"metrics/mAP50(B)": 0.8})], attempt=3)
    export("ab", "--format", "mlflow", "-o", uri, "--experiment", "shapes")
    assert len(mlflow.get_metric_history(found.info.run_id, "metrics/mAP50B")) == 5

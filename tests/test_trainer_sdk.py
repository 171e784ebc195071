"""Predecessor B's Trainer SDK over `Run`: what each call becomes, what arrives, and that it never harms the trainer."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

import trainer_hooks
from tests.servers.platform import PlatformServer, Reply
from tests.waiting import wait_until
from trainer_hooks import shield
from trainer_hooks.delivery import load_courier
from trainer_hooks.errors import InvalidSetting
from trainer_hooks.events import (
    AnyEvent,
    CheckpointSaved,
    EpochEnded,
    ExportCompleted,
    InferenceCompleted,
    Logged,
    Metrics,
    MetricsSkipped,
    Record,
    RunCompleted,
    RunFailed,
    RunInterrupted,
    RunStarted,
    SegmentOpened,
    Validated,
)
from trainer_hooks.history import list_runs
from trainer_hooks.journal import read_records
from trainer_hooks.process import is_alive
from trainer_hooks.run import current_run, start_run
from trainer_hooks.settings.jobs import BasicConfig, JobConfig
from trainer_hooks.storage import open_storage
from trainer_hooks.trainer_sdk import ErrorType, TrainerSDK

ROOT = Path(trainer_hooks.__file__).parent.parent
EXAMPLE = ROOT / "examples" / "trainer_sdk_migrated.py"
CLOSED = "http://127.0.0.1:9/api/v1"
OF_THE_JOB = [
    "CONFIG ADVANCED_CONFIG TASK_TYPE MODEL_NAME FRAMEWORK DATASET_ID SNAPSHOT_ID DATASET_VERSION_HASH",
    "IMGSZ EPOCHS BATCH_SIZE LEARNING_RATE OPTIMIZER AUGMENT DEVICE WORKERS PATIENCE",
    "CONFIG_IMGSZ CONFIG_EPOCHS CONFIG_BATCH CONFIG_LR0 CONFIG_OPTIMIZER CONFIG_AUGMENT CONFIG_DEVICE",
    "CONFIG_WORKERS CONFIG_PATIENCE",
]
Told = Callable[[], list[AnyEvent]]


@pytest.fixture(autouse=True)
def job(own_environment: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Job 7 of a platform that is not there, kept on disk and delivered by nobody; the run's directory."""
    for variable in " ".join(OF_THE_JOB).split():
        monkeypatch.delenv(variable, raising=False)
    given = {"CALLBACK_URL": CLOSED, "JOB_ID": "7", "TRAINER_HOOKS_MODE": "offline", "TRAINER_HOOKS_DELIVERY": "none"}
    for variable, value in given.items():
        monkeypatch.setenv(variable, value)
    yield own_environment / "7"
    run = current_run()
    if run:
        run.interrupt("the test is over")
    for directory in list_runs(own_environment):
        wait_until(partial(has_ended, directory), what="the end of the courier")


@pytest.fixture
def told(job: Path) -> Told:
    """What the journal has, less the headers."""
    return lambda: [record.event for record in records(job)]


def records(directory: Path) -> list[Record]:
    return [record for record in read_records(directory) if not isinstance(record.event, SegmentOpened)]


def has_ended(directory: Path) -> bool:
    courier = load_courier(directory)
    return courier is None or not is_alive(courier.process)


def only(events: list[AnyEvent], kind: type[Any]) -> Any:
    (event,) = (event for event in events if isinstance(event, kind))
    return event


def run_script(script: str | Path, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a trainer in a process of its own, delivered for by a courier of its own."""
    command = [sys.executable, str(script)] if isinstance(script, Path) else [sys.executable, "-c", script]
    environ = {name: value for name, value in os.environ.items() if name != "TRAINER_HOOKS_DELIVERY"}
    environ |= {"TRAINER_HOOKS_MODE": "online", "PYTHONPATH": str(ROOT), **variables}
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=60, check=False)


class TestSettingUp:
    def test_a_missing_callback_url_and_job_id_are_named_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TRAINER_HOOKS_MODE", "online")
        monkeypatch.delenv("CALLBACK_URL")
        monkeypatch.setenv("JOB_ID", "")
        with pytest.raises(InvalidSetting, match=r"CALLBACK_URL and JOB_ID not set.*TRAINER_HOOKS_MODE=offline"):
            TrainerSDK()

    def test_it_is_a_value_error_as_it_was(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TRAINER_HOOKS_MODE", "online")
        monkeypatch.delenv("JOB_ID")
        with pytest.raises(ValueError, match="JOB_ID not set"):
            TrainerSDK()

    def test_offline_needs_no_platform(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("CALLBACK_URL")
        monkeypatch.delenv("JOB_ID")
        sdk = TrainerSDK()
        assert (sdk.callback_url, sdk.job_id) == ("", current_run().id)  # type: ignore[union-attr]

    def test_a_setup_mistake_opens_no_run(self, job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TRAINER_HOOKS_STORAGE", "file://relative/path")
        with pytest.raises(InvalidSetting):
            TrainerSDK()
        monkeypatch.setenv("CONFIG", "{")
        with pytest.raises(InvalidSetting):
            TrainerSDK()
        assert not job.exists()

    def test_the_properties_are_the_jobs_variables(self, monkeypatch: pytest.MonkeyPatch) -> None:
        of_the_dataset = ["dataset_id", "snapshot_id", "dataset_version_hash"]
        names = ["task_type", "model_name", "framework", "callback_url", *of_the_dataset]
        for name in names:
            monkeypatch.setenv(name.upper(), f"http://its/{name}")
        sdk = TrainerSDK()
        assert [getattr(sdk, name) for name in names] == [f"http://its/{name}" for name in names]
        assert sdk.job_id == "7"

    def test_nothing_heavy_is_imported_and_no_address_is_opened_for_s3(self, tmp_path: Path) -> None:
        script = (
            "import sys; from trainer_hooks.trainer_sdk import TrainerSDK; open('w.bin', 'wb').write(b'abc')\n"
            "print(TrainerSDK().upload_checkpoint('w.bin', 'last'))\n"
            "print(sorted({'boto3', 'httpx', 'torch', 'numpy'} & sys.modules.keys()))"
        )
        done = run_script(script, tmp_path, TRAINER_HOOKS_MODE="offline", INTERNAL_STORAGE_ENDPOINT=CLOSED)
        assert done.stdout.splitlines() == ["s3://training-checkpoints/checkpoints/7/last.bin", "[]"], done.stderr


class TestJobConfig:
    def test_the_defaults_are_those_of_the_predecessor(self) -> None:
        assert JobConfig.load({}) == JobConfig(basic=BasicConfig(), advanced={})
        assert TrainerSDK().get_basic_config() == {
            "imgsz": 640,
            "epochs": 100,
            "batch": 16,
            "learning_rate": 0.01,
            "optimizer": "auto",
            "augment": True,
            "device": "0",
            "workers": 8,
            "patience": 50,
        }

    def test_a_variable_goes_before_config_and_config_before_the_older_variable(self) -> None:
        environ = {"EPOCHS": "1", "CONFIG": '{"epochs": 2, "batch": 2}', "CONFIG_EPOCHS": "3", "CONFIG_BATCH": "3"}
        environ |= {"CONFIG_LR0": "0.3", "WORKERS": ""}
        basic = JobConfig.load(environ).basic
        assert (basic.epochs, basic.batch, basic.learning_rate, basic.workers) == (1, 2, 0.3, 8)

    def test_null_in_config_counts_as_not_given_and_a_device_may_be_a_number(self) -> None:
        basic = JobConfig.load({"CONFIG": '{"epochs": null, "device": 1, "imgsz": "32"}'}).basic
        assert (basic.epochs, basic.device, basic.imgsz) == (100, "1", 32)

    @pytest.mark.parametrize(
        ("text", "meant"), [("true", True), ("1", True), ("Yes", True), ("False", False), ("0", False), ("no", False)]
    )
    def test_a_boolean_may_be_said_in_many_ways(self, text: str, *, meant: bool) -> None:
        assert JobConfig.load({"AUGMENT": text}).basic.augment is meant
        assert JobConfig.load({"CONFIG": json.dumps({"augment": meant})}).basic.augment is meant

    def test_the_advanced_configuration_is_configs_own_else_that_of_its_variable(self) -> None:
        environ = {"CONFIG": '{"advanced_config": {"mosaic": 0.5}}', "ADVANCED_CONFIG": '{"mosaic": 1}'}
        assert JobConfig.load(environ).advanced == {"mosaic": 0.5}
        assert JobConfig.load({**environ, "CONFIG": '{"advanced_config": null}'}).advanced == {"mosaic": 1}

    @pytest.mark.parametrize(
        ("environ", "message"),
        [
            ({"CONFIG": '{"epochs": 5,}'}, r"CONFIG must be a JSON object: .*byte 13"),
            ({"CONFIG": "[]"}, "CONFIG must be a JSON object: .*array"),
            ({"ADVANCED_CONFIG": "mosaic=1"}, "ADVANCED_CONFIG must be a JSON object"),
            ({"CONFIG": '{"advanced_config": 1}'}, "'advanced_config' in CONFIG"),
            ({"EPOCHS": "ten"}, "'epochs' from EPOCHS can't be 'ten'"),
            ({"CONFIG": '{"epochs": "ten"}'}, r"'epochs' from CONFIG \(epochs\) can't be 'ten'"),
            ({"AUGMENT": "maybe"}, "'augment' from AUGMENT can't be 'maybe': true, 1, yes"),
        ],
    )
    def test_a_value_that_cannot_be_used_says_where_it_stands(self, environ: dict[str, str], message: str) -> None:
        with pytest.raises(InvalidSetting, match=message):
            JobConfig.load(environ)


class TestTranslation:
    def test_started_tells_the_job(self, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in {"MODEL_NAME": "yolo11n", "DATASET_ID": "d1", "EPOCHS": "4"}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("CONFIG", '{"advanced_config": {"mosaic": 0.5}}')
        TrainerSDK().report_started()
        (event,) = told()
        assert isinstance(event, RunStarted)
        assert (event.operation, event.task, event.model, event.total_epochs) == ("training", "detection", "yolo11n", 4)
        assert event.dataset == {"dataset_id": "d1"}
        assert (event.params["epochs"], event.params["mosaic"]) == (4, 0.5)

    def test_started_takes_its_arguments_by_position(self, told: Told) -> None:
        TrainerSDK().report_started("training", 12)
        assert only(told(), RunStarted).total_epochs == 12

    def test_started_twice_is_told_once(self, told: Told) -> None:
        sdk = TrainerSDK()
        sdk.report_started()
        sdk.report_started("inference")
        assert len(told()) == 1

    @pytest.mark.parametrize("operation", ["inference", "export"])
    def test_another_operation_has_no_epochs(self, told: Told, operation: str) -> None:
        TrainerSDK().report_started(operation)
        event = only(told(), RunStarted)
        assert (event.operation, event.total_epochs) == (operation, None)

    def test_an_unknown_operation_is_a_training_as_it_was(self, told: Told) -> None:
        TrainerSDK().report_started("tuning")
        assert only(told(), RunStarted).operation == "training"

    def test_progress_is_an_epoch(self, told: Told) -> None:
        TrainerSDK().report_progress(2, 5, {"loss": 0.5, "accuracy": 0.0, "lr": float("nan")})
        event = only(told(), EpochEnded)
        assert (event.epoch, event.total_epochs) == (2, 5)
        assert event.metrics == {"loss": 0.5, "accuracy": 0.0, "lr": "NaN"}

    def test_progress_before_the_start_is_taken(self, told: Told) -> None:
        sdk = TrainerSDK()
        sdk.report_progress(1, 2, {})
        sdk.report_started()
        assert [type(event) for event in told()] == [EpochEnded, RunStarted]

    def test_numbers_of_extra_data_join_the_metrics_and_the_rest_is_a_log_record(self, told: Told) -> None:
        extra = {"gpu_gb": 3.5, "raw_metrics": {"train/box_loss": 1.25, "best": "epoch 2"}, "loss": 9, "api_key": "x1"}
        TrainerSDK().report_progress(3, 5, {"loss": 0.5}, extra)
        record, epoch = told()
        assert isinstance(epoch, EpochEnded)
        assert epoch.metrics == {"loss": 0.5, "gpu_gb": 3.5, "raw_metrics/train/box_loss": 1.25}
        assert isinstance(record, Logged)
        assert record.data == {"raw_metrics/best": "epoch 2", "loss": 9, "api_key": "****"}
        assert record.message == f"extra data of epoch 3: {msgspec.json.encode(record.data).decode()}"
        assert (record.level, record.source) == ("INFO", "extra_data")

    def test_what_is_no_metric_is_named_as_skipped(self, told: Told) -> None:
        TrainerSDK().report_progress(1, 1, {"loss": 0.5, "note": "good"})
        assert only(told(), EpochEnded).metrics == {"loss": 0.5}
        assert list(only(told(), MetricsSkipped).reasons) == ["note"]

    def test_a_validation_has_the_predecessors_fields_in_its_order(self, told: Told) -> None:
        urls = {"pr": "s3://b/pr.png"}
        per_class: dict[str, Metrics] = {"cat": {"AP": 0.5}}
        TrainerSDK().report_validation(
            4, "pose", ("mAP50-95", 0.5), {"P": 0.25}, ["cat"], urls, per_class, is_best=True
        )
        assert only(told(), Validated) == Validated(
            epoch=4,
            metrics={"P": 0.25, "mAP50-95": 0.5},
            task="pose",
            primary="mAP50-95",
            is_best=True,
            class_names=["cat"],
            per_class=per_class,
            images=urls,
        )

    def test_a_validation_without_details_has_the_jobs_task(self, told: Told) -> None:
        TrainerSDK().report_validation(epoch=1, all_metrics={"loss": 1.5})
        assert only(told(), Validated) == Validated(epoch=1, metrics={"loss": 1.5}, task="detection")

    def test_completed_ends_the_job(self, told: Told) -> None:
        sdk = TrainerSDK()
        sdk.report_progress(3, 3, {"loss": 0.5})
        sdk.report_completed({"loss": 0.25}, extra_data={"seconds": 2, "host": "h"})
        end = only(told(), RunCompleted)
        assert (end.epochs, end.metrics) == (3, {"loss": 0.25, "seconds": 2})
        assert only(told(), Logged).message == 'extra data of the end: {"host":"h"}'

    def test_completed_tells_the_number_of_epochs_that_it_is_given(self, told: Told) -> None:
        TrainerSDK().report_completed({}, None, 17)
        assert only(told(), RunCompleted).epochs == 17

    def test_failed_ends_the_job_with_its_class_and_traceback(self, told: Told) -> None:
        TrainerSDK().report_failed(ErrorType.RESOURCE_ERROR, "CUDA out of memory", "Traceback …", 2)
        end = only(told(), RunFailed)
        assert (end.error, end.message, end.traceback, end.epoch) == (
            "ResourceError",
            "CUDA out of memory",
            "Traceback …",
            2,
        )

    def test_an_unknown_class_of_failure_is_kept_in_the_message(self, told: Told) -> None:
        TrainerSDK().report_failed("TimeError", "too late")
        end = only(told(), RunFailed)
        assert (end.error, end.message) == ("UnknownError", "TimeError: too late")

    def test_the_class_that_only_the_documents_had_can_be_named(self, told: Told) -> None:
        TrainerSDK().report_failed(error_type=ErrorType.TRAINING_ERROR, message="it broke")
        assert only(told(), RunFailed).error == "UnknownError"

    @pytest.mark.parametrize("started", [True, False])
    def test_inference_results_end_the_inference(self, told: Told, *, started: bool) -> None:
        sdk = TrainerSDK()
        if started:
            sdk.report_started("inference")
        results = [{"image_path": "a.jpg", "predictions": []}]
        sdk.report_inference_completed(1, 3.5, results, {"json": "s3://b/p.json"})
        begun, result, end = told()
        assert isinstance(begun, RunStarted)
        assert begun.operation == "inference"
        urls = {"json": "s3://b/p.json"}
        assert result == InferenceCompleted(total_images=1, total_time_ms=3.5, results=results, result_urls=urls)
        assert isinstance(end, RunCompleted)

    def test_an_export_ends_with_its_result(self, told: Told) -> None:
        sdk = TrainerSDK()
        sdk.report_started("export")
        shape = [640, 640, 3]
        metadata = sdk.create_export_metadata("ultralytics", "yolo11n", "onnx", "detection", shape, [[1, 84]], ["cat"])
        sdk.report_export_completed("onnx", "s3://b/m.zip", 5, metadata)
        result = only(told(), ExportCompleted)
        assert (result.export_format, result.uri, result.size) == ("onnx", "s3://b/m.zip", 5)
        assert result.metadata == metadata
        assert isinstance(told()[-1], RunCompleted)

    def test_export_metadata_has_what_is_given_and_extra_keys_win(self) -> None:
        metadata = TrainerSDK.create_export_metadata(
            "f", "m", "onnx", "pose", [1, 2, 3], [[4]], ["a", "b"], export_config={"opset": 17}, input_dtype="uint8"
        )
        assert metadata.pop("created_at").endswith("+00:00")
        assert metadata == {
            "framework": "f",
            "model_name": "m",
            "export_format": "onnx",
            "task_type": "pose",
            "input_shape": [1, 2, 3],
            "input_dtype": "uint8",
            "output_shape": [[4]],
            "class_names": ["a", "b"],
            "num_classes": 2,
            "export_config": {"opset": 17},
        }

    def test_an_inference_within_a_training_does_not_end_it(self, told: Told) -> None:
        sdk = TrainerSDK()
        sdk.report_started()
        sdk.report_inference_completed(total_images=0, total_time_ms=0, results=[])
        assert not any(isinstance(event, RunCompleted) for event in told())

    def test_log_records_keep_level_source_and_data(self, told: Told) -> None:
        sdk = TrainerSDK()
        sdk.log("one", "warning", "loader", step=3)
        sdk.log_info("two", source="trainer", data={"n": 1})
        sdk.log_debug("three")
        sdk.log_warning("four")
        sdk.log_error("five")
        sdk.log("six", level="CRITICAL")
        sdk.log_event("checkpoint", "seven", {"message": "own", "level": 1}, "DEBUG")
        assert told() == [
            Logged(level="WARNING", message="one", source="loader", data={"step": 3}),
            Logged(level="INFO", message="two", data={"data": {"n": 1}}),
            Logged(level="DEBUG", message="three"),
            Logged(level="WARNING", message="four"),
            Logged(level="ERROR", message="five"),
            Logged(level="ERROR", message="six"),
            Logged(level="DEBUG", message="seven", source="checkpoint", data={"message": "own", "level": 1}),
        ]

    def test_no_secret_gets_into_a_log_record(self, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("INTERNAL_STORAGE_SECRET_KEY", "hush-hush-hush")
        TrainerSDK().log_info("using hush-hush-hush", password="p4ssw0rd")
        event = only(told(), Logged)
        assert (event.message, event.data) == ("using ****", {"password": "****"})

    def test_a_trainers_own_log_handler_is_not_doubled(self, told: Told) -> None:
        sdk = TrainerSDK()
        handler = logging.Handler()
        handler.emit = lambda record: sdk.log(record.getMessage(), record.levelname)  # type: ignore[method-assign]
        logger = logging.getLogger("own-trainer")
        logger.addHandler(handler)
        logger.warning("once")
        logger.removeHandler(handler)
        assert [event.message for event in told() if isinstance(event, Logged)] == ["once"]


class TestCheckpoints:
    @pytest.mark.parametrize("uri", ["file:///tmp/a%20b", "s3://bucket", "s3://bucket/pre/fix", "s3://bucket/prefix/"])
    def test_the_uri_is_the_one_that_the_storage_gives(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str
    ) -> None:
        monkeypatch.setenv("TRAINER_HOOKS_STORAGE", uri)
        monkeypatch.setenv("TRAINER_HOOKS_MODE", "disabled")
        monkeypatch.setenv("JOB_ID", "a/b c")
        path = tmp_path / "w.pth"
        path.write_bytes(b"weights")
        keys = open_storage(uri)
        assert TrainerSDK().upload_checkpoint(str(path), "epoch_3") == keys.uri("checkpoints/a%2Fb%20c/epoch_3.pth")

    def test_an_uploaded_file_is_copied_at_once(self, job: Path, told: Told, storage: Path, tmp_path: Path) -> None:
        path = tmp_path / "best.bin"
        path.write_bytes(b"weights")
        uri = TrainerSDK().upload_checkpoint(path, "best", {"mAP50": 0.5})  # type: ignore[arg-type]
        path.unlink()
        event = only(told(), CheckpointSaved)
        assert (event.names, event.metrics, uri) == (
            ["best"],
            {"mAP50": 0.5},
            f"{storage.as_uri()}/checkpoints/7/best.bin",
        )
        assert (job / event.staged).read_bytes() == b"weights"

    def test_a_planned_uri_is_not_claimed_before_it_is_stored(self, told: Told, storage: Path, tmp_path: Path) -> None:
        assert not storage.exists()
        path = tmp_path / "w.bin"
        path.write_bytes(b"weights")
        sdk = TrainerSDK()
        best = sdk.upload_checkpoint(str(path), "best")
        tenth = sdk.upload_checkpoint(str(path), "epoch_10")
        sdk.report_completed({}, {"best": best, "last": tenth, "other": "s3://mine/other.pt"})
        assert only(told(), RunCompleted).checkpoints == {"last": "epoch_10", "other": "s3://mine/other.pt"}

    def test_without_a_storage_the_file_stays_where_it_is_and_nothing_is_claimed(
        self, told: Told, tmp_path: Path
    ) -> None:
        path = tmp_path / "w.bin"
        path.write_bytes(b"weights")
        sdk = TrainerSDK()
        uri = sdk.upload_checkpoint(str(path))
        sdk.report_completed({}, {"best": uri})
        assert uri == path.as_uri()
        assert "TRAINER_HOOKS_STORAGE" in only(told(), Logged).message
        assert only(told(), RunCompleted).checkpoints == {}

    def test_a_missing_file_does_not_fail_the_training(self, told: Told, storage: Path, tmp_path: Path) -> None:
        sdk = TrainerSDK()
        uri = sdk.upload_checkpoint(str(tmp_path / "gone.pt"), "best")
        sdk.report_completed({}, {"best": uri})
        assert only(told(), Logged).level == "ERROR"
        assert only(told(), RunCompleted).checkpoints == {}
        assert not storage.exists()

    @pytest.fixture
    def storage(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("TRAINER_HOOKS_STORAGE", (tmp_path / "storage").as_uri())
        return tmp_path / "storage"


class TestEnds:
    def test_the_first_end_stands(self, told: Told) -> None:
        sdk = TrainerSDK()
        sdk.report_completed({"loss": 0.5})
        sdk.report_completed({"loss": 9})
        sdk.report_failed(ErrorType.UNKNOWN_ERROR, "late")
        sdk.report_progress(9, 9, {"loss": 9})
        sdk.flush_logs()
        sdk.close()
        (end,) = told()
        assert isinstance(end, RunCompleted)
        assert end.metrics == {"loss": 0.5}

    def test_an_exception_that_leaves_the_block_is_the_failure_and_stays_the_callers(self, told: Told) -> None:
        error = MemoryError("no more")
        sdk = TrainerSDK()
        with pytest.raises(MemoryError) as raised, sdk:
            raise error
        assert raised.value is error
        end = only(told(), RunFailed)
        assert end.error == "ResourceError"
        assert "MemoryError: no more" in end.traceback

    def test_leaving_the_block_without_an_end_claims_none(self, told: Told) -> None:
        with TrainerSDK() as sdk:
            sdk.report_started()
        assert [type(event) for event in told()] == [RunStarted]

    def test_a_process_that_says_no_end_is_told_as_interrupted(self, job: Path, tmp_path: Path) -> None:
        script = "from trainer_hooks.trainer_sdk import *; s = TrainerSDK(); s.report_started(); s.close()"
        done = run_script(script, tmp_path, TRAINER_HOOKS_MODE="offline")
        assert done.returncode == 0, done.stderr
        assert isinstance(records(job)[-1].event, RunInterrupted)

    def test_an_uncaught_exception_is_the_failure_though_close_came_before_it(self, job: Path, tmp_path: Path) -> None:
        script = (
            "from trainer_hooks.trainer_sdk import TrainerSDK\nsdk = TrainerSDK()\n"
            "try:\n  raise KeyError('labels')\nfinally:\n  sdk.close()"
        )
        done = run_script(script, tmp_path, TRAINER_HOOKS_MODE="offline")
        assert done.returncode == 1
        end = records(job)[-1].event
        assert isinstance(end, RunFailed)
        assert end.exception == "KeyError"

    def test_a_second_sdk_speaks_of_the_same_run(self, told: Told) -> None:
        TrainerSDK().report_started()
        TrainerSDK().log_info("from elsewhere")
        assert [type(event) for event in told()] == [RunStarted, Logged]

    def test_a_run_that_an_integration_has_opened_for_the_job_is_joined(self, told: Told) -> None:
        start_run(framework="ultralytics")
        TrainerSDK().log_info("beside it")
        assert [type(event) for event in told()] == [RunStarted, Logged]

    def test_after_an_end_the_job_begins_its_next_attempt(self, job: Path) -> None:
        TrainerSDK().report_failed(ErrorType.NETWORK_ERROR, "gone")
        TrainerSDK().report_completed({})
        assert [(record.attempt, type(record.event)) for record in records(job)] == [(1, RunFailed), (2, RunCompleted)]

    def test_another_rank_is_silent(self, job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RANK", "1")
        sdk = TrainerSDK()
        sdk.report_started()
        sdk.report_progress(1, 1, {"loss": 1})
        sdk.report_completed({})
        assert sdk.job_id == "7"
        assert not job.exists()


class TestHarm:
    def test_an_unknown_keyword_is_a_type_error(self) -> None:
        with pytest.raises(TypeError, match="model_name"):
            TrainerSDK().report_started(model_name="vit")  # type: ignore[call-arg]

    @pytest.mark.swallows
    def test_no_value_makes_a_call_raise(self, told: Told) -> None:
        class Angry:
            def __str__(self) -> str:
                raise RuntimeError("angry")

        bad: Any = Angry()
        sdk = TrainerSDK()
        sdk.report_started(bad, bad)
        sdk.report_progress(bad, bad, bad, bad)
        sdk.report_validation(bad, bad, bad, bad, bad, bad, bad)
        sdk.report_inference_completed(bad, bad, bad, bad)
        sdk.report_export_completed(bad, bad, bad, bad)
        sdk.log(bad, bad, bad, bad=bad)
        sdk.log_event(bad, bad, bad, bad)
        sdk.report_progress(1, 2, {"loss": 0.5}, bad)
        assert isinstance(sdk.upload_checkpoint(__file__, bad, bad), str)
        sdk.report_completed(bad, bad, bad, bad)
        assert shield.caught
        assert only(told(), EpochEnded).metrics == {"loss": 0.5}
        assert isinstance(told()[-1], RunCompleted)

    @pytest.mark.parametrize("trouble", ["refused", "hanging"])
    def test_a_dead_platform_costs_no_time_and_no_exit_code(self, job: Path, tmp_path: Path, trouble: str) -> None:
        with PlatformServer() as server:
            server.always(Reply(hang=True))
            done = run_script(
                TRAINER,
                tmp_path,
                CALLBACK_URL=server.url if trouble == "hanging" else CLOSED,
                TRAINER_HOOKS_FLUSH_TIMEOUT="0.2",
                TRAINER_HOOKS_LINGER="0",
                INTERNAL_STORAGE_ENDPOINT="http://127.0.0.1:9",
            )
        assert done.returncode == 3, done.stderr
        report = json.loads(done.stdout)
        assert max(report["seconds"].values()) < 1.0, report
        assert report["whole"] < 5.0
        kinds = [type(record.event) for record in records(job)]
        assert kinds == [RunStarted, *[EpochEnded] * 20, Validated, *[Logged] * 60, CheckpointSaved, RunFailed]


# Every call with the time it took; ends as a trainer of B's does after a failure.
TRAINER = """
import json, sys, time
from trainer_hooks.trainer_sdk import TrainerSDK, ErrorType

began, seconds = time.monotonic(), {}

def timed(call, *arguments):
    before = time.monotonic()
    call(*arguments)
    name = getattr(call, "__name__", "TrainerSDK")
    seconds[name] = max(seconds.get(name, 0), time.monotonic() - before)

sdk = TrainerSDK()
timed(sdk.report_started)
for epoch in range(1, 21):
    timed(sdk.report_progress, epoch, 20, {"loss": 1 / epoch})
timed(sdk.report_validation, 20, "detection", ("mAP50-95", 0.5), {})
for number in range(60):
    timed(sdk.log_error, f"record {number}")
open("w.bin", "wb").write(b"weights")
timed(sdk.upload_checkpoint, "w.bin", "last")
timed(sdk.report_failed, ErrorType.DATASET_ERROR, "no images", "Traceback …", 20)
timed(sdk.flush_logs)
timed(sdk.close)
print(json.dumps({"seconds": seconds, "whole": time.monotonic() - began}))
sys.exit(3)
"""


class TestDelivery:
    """Against the predecessor's contract, end to end: a process, its courier, HTTP and a storage."""

    @pytest.fixture
    def server(self) -> Iterator[PlatformServer]:
        with PlatformServer(jobs=("7",)) as running:
            yield running

    def test_the_documents_usage_arrives_as_the_predecessors_payloads(
        self, server: PlatformServer, tmp_path: Path
    ) -> None:
        storage = tmp_path / "storage"
        done = run_script(
            EXAMPLE, tmp_path, CALLBACK_URL=server.url, TRAINER_HOOKS_STORAGE=storage.as_uri(), EPOCHS="3"
        )
        assert done.returncode == 0, done.stderr
        server.wait_for(lambda server: server.posts("/training/jobs/7/callback/completion"))
        server.wait_for(lambda server: server.posts("/training/jobs/7/callback/logs"))
        uri = (storage / "checkpoints/7/best.json").as_uri()
        assert done.stdout.rstrip().endswith(uri)
        assert json.loads((storage / "checkpoints/7/best.json").read_text()).keys() == {"slope", "offset"}

        started, *epochs = server.posts("/training/jobs/7/callback/progress")
        assert started == {
            "job_id": 7,
            "status": "running",
            "current_epoch": 0,
            "total_epochs": 3,
            "progress_percent": 0.0,
            "metrics": None,
            "checkpoint_path": None,
        }
        assert [epoch["current_epoch"] for epoch in epochs] == [1, 2, 3]
        assert [round(epoch["progress_percent"]) for epoch in epochs] == [33, 67, 100]
        for epoch in epochs:
            assert (epoch["job_id"], epoch["status"], epoch["total_epochs"]) == (7, "running", 3)
            extra = epoch["metrics"]["extra_metrics"]
            assert extra.keys() == {"loss", "lr", "slope", "offset"}
            assert epoch["metrics"] == {
                "loss": extra["loss"],
                "accuracy": None,
                "learning_rate": 0.01,
                "extra_metrics": extra,
            }
        (completed,) = server.posts("/training/jobs/7/callback/completion")
        assert completed.pop("total_duration_seconds") > 0
        assert completed == {
            "job_id": 7,
            "status": "completed",
            "total_epochs_completed": 3,
            "final_metrics": epochs[-1]["metrics"],
            "exit_code": 0,
            "best_checkpoint_path": uri,
        }
        (stored,) = server.posts("/training/jobs/7/callback/logs")
        assert (stored["type"], stored["event_type"], stored["data"]["s3_uri"]) == ("log_event", "checkpoint", uri)
        assert server.job("7").status == "completed"
        assert not server.unknown_fields

    def test_a_checkpoint_that_cannot_be_stored_is_never_claimed(self, server: PlatformServer, tmp_path: Path) -> None:
        script = (
            "from trainer_hooks.trainer_sdk import TrainerSDK\nopen('w.pt', 'wb').write(bytes(100))\n"
            "sdk = TrainerSDK(); uri = sdk.upload_checkpoint('w.pt', 'best')\n"
            "sdk.report_completed({'loss': 0.5}, {'best': uri})"
        )
        storage = (tmp_path / "storage").as_uri()
        done = run_script(script, tmp_path, CALLBACK_URL=server.url, TRAINER_HOOKS_STORAGE=storage)
        assert done.returncode == 0, done.stderr
        server.wait_for(lambda server: server.posts("/training/jobs/7/callback/completion"))
        (completed,) = server.posts("/training/jobs/7/callback/completion")
        assert "best_checkpoint_path" not in completed

    def test_each_operation_is_told_on_its_own_routes(self, server: PlatformServer, tmp_path: Path) -> None:
        script = """
from trainer_hooks.trainer_sdk import TrainerSDK, ErrorType
sdk = TrainerSDK(); sdk.report_started("inference")
sdk.report_inference_completed(1, 4.0, [{"image_path": "a.jpg", "predictions": []}])
sdk = TrainerSDK(); sdk.report_started("export")
sdk.report_export_completed("onnx", "s3://b/m.zip", 5, {"a": 1})
sdk = TrainerSDK(); sdk.report_started()
sdk.report_validation(2, "detection", ("mAP50-95", 0.5), {"precision": 0.25}, ["cat"], is_best=True)
sdk.report_failed(ErrorType.VALIDATION_ERROR, "NaN loss", "Traceback …", 2)
"""
        done = run_script(script, tmp_path, CALLBACK_URL=server.url)
        assert done.returncode == 0, done.stderr
        server.wait_for(lambda server: server.posts("/training/jobs/7/callback/completion"))

        (inference,) = server.posts("/test_inference/inference/jobs/7/callback/completion")
        assert inference.pop("timestamp")
        assert inference == {
            "type": "inference_completed",
            "job_id": 7,
            "status": "completed",
            "total_images": 1,
            "total_inference_time_ms": 4.0,
            "avg_inference_time_ms": 4.0,
            "results": [{"image_path": "a.jpg", "predictions": []}],
        }
        (export,) = server.posts("/export/jobs/7/callback/completion")
        assert export.pop("timestamp")
        assert export == {
            "type": "export_completed",
            "job_id": 7,
            "status": "completed",
            "export_format": "onnx",
            "output_s3_uri": "s3://b/m.zip",
            "file_size_bytes": 5,
            "metadata": {"a": 1},
        }
        (validation,) = server.posts("/validation/jobs/7/results")
        assert validation.pop("timestamp")
        assert validation == {
            "type": "validation",
            "job_id": 7,
            "epoch": 2,
            "task_type": "detection",
            "primary_metric_name": "mAP50-95",
            "primary_metric_value": 0.5,
            "metrics": {"precision": 0.25, "mAP50-95": 0.5},
            "is_best": True,
            "class_names": ["cat"],
        }
        (failed,) = server.posts("/training/jobs/7/callback/completion")
        assert failed == {
            "job_id": 7,
            "status": "failed",
            "total_epochs_completed": 2,
            "error_message": "[ValidationError] NaN loss",
            "exit_code": 1,
            "traceback": "Traceback …",
        }

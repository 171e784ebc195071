"""`trainer-hooks runs`, and the counts that it shows."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from tests.cli.parts import COMPLETED, TRAINING, invoke, write_run
from tests.servers.platform import PlatformServer
from trainer_hooks import start_run
from trainer_hooks.cli import COMMANDS, main
from trainer_hooks.delivery import DeliveryState, load_state, save_state
from trainer_hooks.events import (
    AnyEvent,
    CheckpointSaved,
    CheckpointStored,
    MetricsLogged,
    ProgressMade,
    RecordsDropped,
    RunCompleted,
    RunFailed,
    RunStarted,
    StepFinished,
    StepStarted,
    TrackerLinked,
    Validated,
)
from trainer_hooks.journal import sizes
from trainer_hooks.ledger import read_ledger

FAILED = RunFailed(
    error="DatasetError", message="no images", exception="FileNotFoundError", traceback="Traceback …\n  here", epoch=1
)
ITERATIONS: list[AnyEvent] = [
    RunStarted(total_iterations=40),
    MetricsLogged(metrics={"loss": 3}, iteration=10),
    MetricsLogged(metrics={"loss": 2}, iteration=20),
    Validated(metrics={"mIoU": 0.5}, iteration=20, is_best=True),
    RunCompleted(iterations=20),
]
NOWHERE = "http://127.0.0.1:9/api/v1"


def shown(*arguments: str) -> Any:
    result = invoke("runs", *arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_ls_lists_a_searchs_trials_below_it(own_environment: Path) -> None:
    write_run(own_environment, "search", [RunStarted(action="train")])
    write_run(own_environment, "search-trial-1", [RunStarted(parent="search")])
    write_run(own_environment, "search-trial-2", [RunStarted(parent="search")])
    write_run(own_environment, "later", TRAINING)
    write_run(own_environment, "orphan", [RunStarted(parent="removed")])
    told = [(run["run"], run["parent"]) for run in shown("ls")]
    trials = [("search-trial-1", "search"), ("search-trial-2", "search")]
    assert told == [("orphan", "removed"), ("later", None), ("search", None), *trials]
    lines = invoke("runs", "ls").stdout.splitlines()
    assert [line.split()[0] for line in lines if line.startswith("  ")] == [
        "orphan",
        "search-trial-1",
        "search-trial-2",
    ]
    assert "parent search" in invoke("runs", "show", "search-trial-1").stdout


def test_ls_lists_runs_with_their_state(own_environment: Path) -> None:
    write_run(own_environment, "a", COMPLETED)
    write_run(own_environment, "b", [*TRAINING, FAILED])
    write_run(own_environment, "c", TRAINING)
    told = {run["run"]: (run["status"], run["epoch"], run["total_epochs"]) for run in shown("ls")}
    assert told == {"a": ("completed", 2, 2), "b": ("failed", 2, 2), "c": ("running", 2, 2)}
    assert [run["run"] for run in shown("ls", "--status", "failed")] == ["b"]
    lines = invoke("runs", "ls").stdout.splitlines()
    assert lines[0].split() == ["run", "status", "attempt", "done", "best", "began", "pending", "rejected"]
    assert {tuple(line.split()[:5]) for line in lines[1:]} == {
        ("a", "completed", "1", "2/2", "epochs"),
        ("b", "failed", "1", "2/2", "epochs"),
        ("c", "running", "1", "2/2", "epochs"),
    }


def test_ls_of_an_empty_place_is_no_failure(tmp_path: Path) -> None:
    result = invoke("runs", "ls", "--dir", str(tmp_path))
    assert (result.exit_code, result.stdout) == (0, "")
    assert f"no runs in {tmp_path}" in result.stderr


def test_show_tells_epochs_checkpoints_and_the_failure(own_environment: Path) -> None:
    stored = CheckpointStored(name="best", uri="s3://b/k", manifest_uri="s3://b/m", size=3, sha256="0")
    saved = CheckpointSaved(names=["best"], path="/out/best.pt", size=3)
    write_run(own_environment, "a", [*TRAINING, saved, stored, FAILED])
    text = invoke("runs", "show", "a").stdout
    for part in ("attempt 1: failed, 2 of 2 epochs", "[DatasetError] FileNotFoundError: no images", "Traceback …"):
        assert part in text
    rows = [line.split() for line in text.splitlines()]
    assert ["epoch", "seconds", "loss", "map", "late"] in rows
    assert ["1", "2", "1.5", "0.25"] in rows
    assert ["2", "1", "nan", "0.5", "1"] in rows
    assert ["best", "/out/best.pt", "s3://b/k"] in rows
    (attempt,) = shown("show", "a")["attempts"]
    assert attempt["measured"][1]["metrics"] == {"loss": "NaN", "map": 0.5, "late": 1}
    assert attempt["ended"]["traceback"] == "Traceback …\n  here"


def test_a_training_counted_in_iterations_is_shown_and_exported_so(own_environment: Path) -> None:
    write_run(own_environment, "a", ITERATIONS)
    assert invoke("runs", "ls").stdout.splitlines()[1].split()[3:7] == ["20/40", "iterations", "iteration", "20"]
    text = invoke("runs", "show", "a").stdout
    assert "attempt 1: completed, 20 of 40 iterations" in text
    rows = [line.split() for line in text.splitlines()]
    assert ["iteration", "seconds", "loss", "mIoU"] in rows
    assert ["20", "2", "0.5"] in rows
    exported = list(csv.DictReader(io.StringIO(invoke("runs", "export", "a", "--format", "csv").stdout)))
    assert [(row["epoch"], row["iteration"], row["mIoU"]) for row in exported] == [("", "10", ""), ("", "20", "0.5")]


def test_show_tells_the_steps_and_how_much_is_done(own_environment: Path) -> None:
    load = [
        StepStarted(step="load data", order=1, total=2, share=0.25),
        StepFinished(step="load data", skipped="it is"),
    ]
    train = [StepStarted(step="train", order=2, total=2, share=0.75), ProgressMade(current=1, total=3)]
    write_run(own_environment, "a", [*TRAINING, *load, *train])
    text = invoke("runs", "show", "a").stdout
    assert "50% of the workflow" in text
    rows = [line.split() for line in text.splitlines()]
    assert ["step", "share", "status", "done", "seconds"] in rows
    assert ["load", "data", "25%", "skipped", "100%", "0", "it", "is"] in rows
    assert ["train", "75%", "running", "33%", "0"] in rows
    (attempt,) = shown("show", "a")["attempts"]
    assert attempt["overall"] == 0.5
    assert attempt["steps"]["train"]["status"] == "running"


def test_show_tells_where_else_the_run_is_shown(own_environment: Path) -> None:
    link = TrackerLinked(tracker="clearml", id="f00d", url="http://clearml/f00d")
    write_run(own_environment, "run", [link, *COMPLETED])

    assert "clearml    task f00d, http://clearml/f00d" in invoke("runs", "show", "run").stdout
    assert shown("show", "run")["linked"]["clearml"]["id"] == "f00d"


def test_show_without_a_name_shows_the_newest_and_a_directory_may_be_named(own_environment: Path) -> None:
    directory = write_run(own_environment, "only", COMPLETED)
    assert shown("show")["run"] == shown("show", str(directory))["run"] == "only"


def test_a_run_that_is_not_there_is_a_mistake_without_a_traceback(own_environment: Path) -> None:
    for arguments in (["show", "x"], ["show"], ["export", "x"]):
        result = invoke("runs", *arguments)
        assert result.exit_code == 2
        assert str(own_environment) in result.stderr
        assert isinstance(result.exception, SystemExit)


def test_export_writes_every_record_or_a_row_per_epoch(own_environment: Path, tmp_path: Path) -> None:
    directory = write_run(own_environment, "a", COMPLETED)
    write_run(own_environment, "a", COMPLETED, attempt=2)
    records = [json.loads(line) for line in invoke("runs", "export", "a").stdout.splitlines()]
    assert [record["event"]["type"] for record in records[:3]] == ["segment_opened", "run_started", "epoch_ended"]
    assert len(records) == 10
    assert records[-1].keys() == {"id", "run", "attempt", "time", "event"}
    output = tmp_path / "epochs.csv"
    assert invoke("runs", "export", str(directory), "--format", "csv", "-o", str(output)).exit_code == 0
    rows = list(csv.DictReader(io.StringIO(output.read_text())))
    assert [(row["attempt"], row["epoch"]) for row in rows] == [("1", "1"), ("1", "2"), ("2", "1"), ("2", "2")]
    assert (rows[0]["loss"], rows[0]["late"], rows[1]["loss"], rows[1]["duration"]) == ("1.5", "", "NaN", "1.0")


def test_what_was_never_delivered_is_pending_where_a_destination_is_recorded(own_environment: Path) -> None:
    write_run(own_environment, "a", COMPLETED, job="7", callback_url=NOWHERE)
    ledger = shown("show", "a")["ledger"]
    (account,) = ledger["destinations"]
    assert (account["destination"], account["delivered"], account["balanced"]) == ("platform", 0, True)
    assert account["pending"] + account["not_addressed"] == ledger["accepted"] == 5
    assert account["pending"] >= 3
    assert "ok" in invoke("runs", "show", "a").stdout.splitlines()[-1]


def test_a_record_that_a_destination_lost_is_found(own_environment: Path) -> None:
    directory = write_run(own_environment, "a", COMPLETED, job="7", callback_url=NOWHERE)
    pending = read_ledger(directory, ["platform"]).pending
    save_state(directory, "platform", DeliveryState(cursor=sizes(directory), delivered=pending))
    assert read_ledger(directory).is_balanced
    state = load_state(directory, "platform")
    state.delivered -= 1
    save_state(directory, "platform", state)
    assert not read_ledger(directory).is_balanced
    assert "NOT ok" in invoke("runs", "show", "a").stdout


def test_damage_and_drops_are_counted(own_environment: Path) -> None:
    dropped = RecordsDropped(count=12, reason="disk full")
    directory = write_run(own_environment, "a", [*TRAINING, dropped])
    segment = directory / "journal" / "000001.jsonl"
    lines = segment.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b"1.5", b"1.6")
    segment.write_bytes(b"".join(lines))
    ledger = read_ledger(directory)
    assert (ledger.accepted, ledger.damaged_lines, ledger.damaged_bytes) == (4, 1, len(lines[2]))
    assert ledger.dropped == 12


def test_what_a_journals_limit_has_dropped_is_shown_and_nothing_else_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TRAINER_HOOKS_JOURNAL_LIMIT", "20000")
    with PlatformServer(jobs=("7",), batch=True) as server:
        with start_run(job_id="7", callback_url=server.url, flush_timeout=30, log_level="OFF") as run:
            for number in range(1, 501):
                run.log(f"line {number}")
                run.log_metrics({"loss": 1 / number}, iteration=number)
            run.log_metrics({"loss": 0.5}, epoch=1)
            run.complete()
            assert run.flush()
        shown = json.loads(invoke("runs", "show", "7", "--json").stdout)["ledger"]
        kinds = [stored["event"]["type"] for stored in server.events.values()]
    kept = kinds.count("logged") + kinds.count("metrics_logged")
    assert kept + shown["dropped"] == 1000
    assert min(kept, shown["dropped"]) > 50
    assert [kinds.count(kind) for kind in ("run_started", "epoch_ended", "run_completed")] == [1, 1, 1]
    (platform,) = shown["destinations"]
    assert platform["delivered"] == len(kinds)
    assert (platform["pending"], platform["rejected"], platform["delivered"] + platform["not_addressed"]) == (
        0,
        0,
        shown["accepted"],
    )


def test_the_torn_last_line_of_a_dead_writer_is_damage_and_of_a_live_one_is_not(own_environment: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.cli.parts import TRAINING, write_run;"
        "write_run(Path(sys.argv[1]), 'dead', TRAINING)"
    )
    subprocess.run([sys.executable, "-c", code, str(own_environment)], check=True)
    live = write_run(own_environment, "live", TRAINING)
    found = {}
    for directory in (own_environment / "dead", live):
        with (directory / "journal" / "000001.jsonl").open("ab") as file:
            file.write(b'{"seq":9,"time"')
        found[directory.name] = read_ledger(directory).damaged_bytes
    assert found == {"dead": 15, "live": 0}


def test_the_commands_start_without_what_is_heavy() -> None:
    code = (
        "import sys; from trainer_hooks.cli import COMMANDS, main;"
        "print('msgspec' in sys.modules);"
        "[main.get_command(None, name) for name in COMMANDS];"
        "print([name for name in ('rich', 'httpx', 'boto3', 'botocore', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n[]\n"


def test_help_lists_every_command_with_the_first_line_of_its_own_help() -> None:
    listed = invoke("--help").stdout
    for name, (_, summary) in COMMANDS.items():
        command = main.get_command(click.Context(main), name)
        assert command is not None
        assert command.get_short_help_str(100) == summary
        assert f"{name} " in listed
        assert summary in listed
        assert "Exit status: " in invoke(name, "--help").stdout

"""Which run and which attempt a process is, with real processes that live, die and race."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainer_hooks.attempts import Claim, claim, find_run_by_output, load_addresses, safe_name
from trainer_hooks.events import EpochEnded, RunCompleted, RunLost, RunStarted
from trainer_hooks.history import read_history
from trainer_hooks.journal import read_headers, read_records
from trainer_hooks.settings import Settings

# A training in another process: claims, tells, and waits to be let go or killed.
TRAINING = """
import sys
from pathlib import Path
from trainer_hooks.attempts import claim
from trainer_hooks.events import EpochEnded, RunCompleted, RunStarted
from trainer_hooks.settings import Settings
settings = Settings.load(environ={}, job_id="job", callback_url="http://host/api/v1")
print("ready", flush=True)
sys.stdin.readline()
claimed = claim(Path(sys.argv[1]), settings)
claimed.journal.append(RunStarted(output_dir="/data/runs/train"))
claimed.journal.append(EpochEnded(epoch=3))
if sys.argv[2:] == ["completes"]:
    claimed.journal.append(RunCompleted(epochs=3))
print(claimed.run, claimed.attempt, claimed.settings.job_id, claimed.settings.callback_url, flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def trainings(tmp_path):
    """Starts trainings in processes of their own; none is left at the end."""
    started = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", TRAINING, str(tmp_path), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent.parent,
        )
        started.append(process)
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate(timeout=30)


def let_go(process: subprocess.Popen[str]) -> None:
    process.stdin.write("\n")
    process.stdin.flush()


def claimed_by(process: subprocess.Popen[str]) -> list[str]:
    let_go(process)
    return process.stdout.readline().split()


def given_settings(**values: object) -> Settings:
    return Settings.load(environ={}, **values)


JOB = {"job_id": "job", "callback_url": "http://host/api/v1"}


def events(directory: Path, kind: type) -> list[tuple[int, object]]:
    return [(record.attempt, record.event) for record in read_records(directory) if isinstance(record.event, kind)]


def test_a_new_run_is_its_first_attempt(tmp_path):
    claimed = claim(tmp_path, given_settings(**JOB))
    assert (claimed.run, claimed.attempt) == ("job", 1)
    assert claimed.directory == tmp_path / "job"
    assert claimed.settings.job_id == "job"
    (header,) = read_headers(claimed.directory).values()
    assert (header.run, header.attempt, header.writer, header.job) == ("job", 1, "training", "job")
    assert load_addresses(claimed.directory) == {**JOB, "retry_delay": 2.0}


def test_runs_without_a_name_get_names_of_their_own(tmp_path):
    names = {claim(tmp_path, given_settings()).run for _ in range(20)}
    assert len(names) == 20


def test_the_name_goes_before_the_job_and_the_job_before_what_is_resumed(tmp_path):
    assert claim(tmp_path, given_settings(run_id="named", **JOB)).run == "named"
    assert claim(tmp_path, given_settings(**JOB), resumed="earlier").run == "job"
    assert claim(tmp_path, given_settings(), resumed="earlier").run == "earlier"


def test_after_a_death_without_a_word_the_next_attempt_says_that_it_was_lost(tmp_path, trainings):
    training = trainings()
    assert claimed_by(training) == ["job", "1", "job", "http://host/api/v1"]
    training.kill()
    training.wait()
    claimed = claim(tmp_path, given_settings(**JOB))
    claimed.journal.append(RunStarted())
    assert (claimed.run, claimed.attempt, claimed.settings.job_id) == ("job", 2, "job")
    assert events(claimed.directory, RunLost) == [
        (1, RunLost(reason="its process was gone when the next attempt began", epoch=3))
    ]
    kinds = [type(record.event) for record in read_records(claimed.directory)]
    assert kinds.index(RunLost) < len(kinds) - 1 - kinds[::-1].index(RunStarted), "a new start comes after the old end"


def test_after_an_end_with_a_word_nothing_is_added_to_it(tmp_path, trainings):
    training = trainings("completes")
    claimed_by(training)
    training.kill()
    training.wait()
    claimed = claim(tmp_path, given_settings(**JOB))
    assert (claimed.run, claimed.attempt) == ("job", 2)
    assert events(claimed.directory, RunLost) == []


def test_each_lost_attempt_is_said_to_be_lost_once(tmp_path, trainings):
    for attempt in ("1", "2", "3"):
        training = trainings()
        assert claimed_by(training)[1] == attempt
        training.kill()
        training.wait()
    claimed = claim(tmp_path, given_settings(**JOB))
    assert claimed.attempt == 4
    assert Counter(attempt for attempt, _ in events(claimed.directory, RunLost)) == {1: 1, 2: 1, 3: 1}


def test_while_another_process_is_at_work_a_run_begins_beside_it_without_the_job(tmp_path, trainings):
    claimed_by(trainings())
    claimed = claim(tmp_path, given_settings(**JOB, run_id=None))
    assert (claimed.run, claimed.attempt) == ("job-2", 1)
    assert (claimed.settings.job_id, claimed.settings.callback_url) == (None, None)
    assert load_addresses(claimed.directory) == {"retry_delay": 2.0}
    assert events(tmp_path / "job", RunLost) == []
    assert claim(tmp_path, given_settings(**JOB)).run == "job-3"


def test_another_process_that_has_finished_but_not_yet_ended_is_in_nobodys_way(tmp_path, trainings):
    claimed_by(trainings("completes"))
    claimed = claim(tmp_path, given_settings(**JOB))
    assert (claimed.run, claimed.attempt, claimed.settings.job_id) == ("job", 2, "job")


def test_a_second_training_of_one_process_is_a_run_of_its_own_unless_it_resumes(tmp_path):
    first = claim(tmp_path, given_settings(**JOB))
    assert claim(tmp_path, given_settings(**JOB), resumed="job").run == "job-2", "the first is still at work"
    first.journal.append(RunCompleted())
    assert claim(tmp_path, given_settings(**JOB)).run == "job-3"
    resumed = claim(tmp_path, given_settings(**JOB), resumed="job")
    assert (resumed.run, resumed.attempt) == ("job", 2)
    assert events(first.directory, RunLost) == []


RACER = """
import json, sys, time
from pathlib import Path
from trainer_hooks.attempts import claim
from trainer_hooks.settings import Settings
root, rounds = Path(sys.argv[1]), int(sys.argv[2])
print("ready", flush=True)
start = float(sys.stdin.readline())
claims = []
for number in range(rounds):
    settings = Settings.load(environ={}, job_id=f"job {number}")
    while time.time() < start + number * 0.03:
        pass  # all at the same instant
    claims.append(claim(root, settings))
print(json.dumps([[c.run, c.attempt, c.settings.job_id] for c in claims]), flush=True)
sys.stdin.readline()
"""


def race(root: Path, racers: int, rounds: int) -> list[list[tuple[str, int, str | None]]]:
    """What each of the racers claimed in each round, all of them alive to the end; then they die without a word."""
    command = [sys.executable, "-c", RACER, str(root), str(rounds)]
    cwd = Path(__file__).parent.parent
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, cwd=cwd, **pipes) for _ in range(racers)]
    try:
        assert [process.stdout.readline() for process in processes] == ["ready\n"] * racers
        start = time.time() + 0.1
        for process in processes:
            process.stdin.write(f"{start}\n")
            process.stdin.flush()
        return [[tuple(claimed) for claimed in json.loads(process.stdout.readline())] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate(timeout=30)


def test_processes_that_claim_one_name_at_the_same_instant_share_nothing(tmp_path):
    rounds = 40
    for attempt in (1, 2):
        for number, claims in enumerate(zip(*race(tmp_path, 3, rounds), strict=True)):
            job = f"job {number}"
            assert sorted(run for run, *_ in claims) == [job, f"{job}-2", f"{job}-3"]
            assert [(run, at) for run, at, own in claims if own == job] == [(job, attempt)]
            lost = [at for at, _ in events(tmp_path / safe_name(job), RunLost)]
            assert lost == list(range(1, attempt)), "each lost attempt is said to be lost once"


@pytest.mark.parametrize(
    "run",
    [
        "../x",
        "..",
        ".",
        "a/b",
        "/etc/passwd",
        "",
        "~",
        "-rf",
        "a\x00b",
        "a\nb",
        "CON",
        "x" * 5000,
        "실험 🚀",
        "a\udcff",
    ],
)
def test_a_run_id_of_any_kind_stays_inside_the_root(tmp_path, run):
    root = tmp_path / "root"
    claimed = claim(root, given_settings(run_id=run))
    assert claimed.directory.parent == root
    assert claimed.directory.resolve().parent == root.resolve()
    assert [path.name for path in tmp_path.iterdir()] == ["root"]
    claimed.journal.append(EpochEnded(epoch=1))
    assert len(events(claimed.directory, EpochEnded)) == 1
    if run:
        assert claimed.run == run


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(), min_size=1), st.text(st.characters(), min_size=1))
def test_names_of_any_kind_are_safe_and_no_two_runs_share_one(tmp_path, one, other):
    for run in (one, other, one * 100, other * 100):
        name = safe_name(run)
        assert (tmp_path / name).resolve().parent == tmp_path.resolve()
        assert len(os.fsencode(name)) <= 150
        assert "\n" not in name
        assert "\0" not in name
    if one != other:
        assert safe_name(one) != safe_name(other)
        assert safe_name("이름" * 40 + one) != safe_name("이름" * 40 + other)


def test_long_names_that_differ_only_at_their_end_are_different_runs(tmp_path):
    names = [f"{'실험' * 50}-{fold}" for fold in range(3)]
    claims = [claim(tmp_path, given_settings(run_id=name)) for name in names]
    assert [(c.run, c.attempt) for c in claims] == [(name, 1) for name in names]
    beside = claim(tmp_path, given_settings(run_id=names[0]))
    assert beside.run == f"{names[0]}-2"


def test_a_claim_goes_on_where_another_process_is_stuck_in_its_own(tmp_path):
    claim(tmp_path, given_settings(**JOB))
    holding = (
        "import fcntl, sys\n"
        "file = open(sys.argv[1], 'ab')\n"
        "fcntl.flock(file, fcntl.LOCK_EX)\n"
        "print(flush=True)\n"
        "sys.stdin.read()"
    )
    command = [sys.executable, "-c", holding, tmp_path / "job" / "claim.lock"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as stuck:
        stuck.stdout.readline()
        assert claim(tmp_path, given_settings(**JOB)).run == "job-2"
        stuck.kill()


@pytest.mark.parametrize("obstacle", ["a file", "a file above", "proc"])
def test_a_root_that_can_not_be_written_raises(tmp_path, obstacle):
    (tmp_path / "file").write_text("")
    root = {"a file": tmp_path / "file", "a file above": tmp_path / "file" / "runs", "proc": Path("/proc/runs")}
    with pytest.raises(OSError):
        claim(root[obstacle], given_settings())


def told(root: Path, run: str, output: str) -> Claim:
    claimed = claim(root, given_settings(run_id=run))
    claimed.journal.append(RunStarted(output_dir=output))
    return claimed


def test_a_resumed_run_is_found_by_the_folder_it_wrote_to(tmp_path):
    told(tmp_path, "first", "/data/train")
    told(tmp_path, "second", "/data/train")
    told(tmp_path, "third", "/data/train2")
    assert find_run_by_output(tmp_path, "/data/train") == "second"
    assert find_run_by_output(tmp_path, "/data/train2") == "third"
    assert find_run_by_output(tmp_path, "/data/tra") is None
    assert find_run_by_output(tmp_path / "gone", "/data/train") is None


def test_delivering_an_old_run_does_not_make_it_the_newest(tmp_path):
    first = told(tmp_path, "first", "/data/train")
    told(tmp_path, "second", "/data/train")
    (first.directory / "courier.log").write_text("a line")
    (first.directory / "delivery").mkdir()
    assert find_run_by_output(tmp_path, "/data/train") == "second"


def test_addresses_that_are_missing_or_torn_are_none(tmp_path):
    assert load_addresses(tmp_path) == {}
    (tmp_path / "run.json").write_text('{"job_id":')
    assert load_addresses(tmp_path) == {}


def test_a_claim_by_a_process_that_died_before_its_first_record_is_no_claim(tmp_path):
    journal = tmp_path / "job" / "journal"
    journal.mkdir(parents=True)
    (journal / "000001.jsonl").write_bytes(b"")
    claimed = claim(tmp_path, given_settings(**JOB))
    assert (claimed.run, claimed.attempt) == ("job", 1)
    assert list(read_headers(claimed.directory)) == [2]
    assert read_history(claimed.directory).latest.number == 1

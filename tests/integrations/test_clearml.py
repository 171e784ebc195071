"""Real trainings mirrored to ClearML: the real SDK, a server on loopback, through everything that can go wrong."""

from __future__ import annotations

import functools
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmengine.visualization import Visualizer

import trainer_hooks
from tests.hosts import mmengine, scripts, ultralytics
from tests.hosts.every import HOSTS, with_host, with_hosts_by_turns
from tests.servers.clearml import ClearMLServer
from tests.waiting import wait_until
from trainer_hooks.delivery import load_courier
from trainer_hooks.destinations.clearml.points import SUMMARY, place
from trainer_hooks.errors import UnknownFramework
from trainer_hooks.events import EpochEnded, MetricsLogged, Record, Validated
from trainer_hooks.history import list_runs, read_history
from trainer_hooks.journal import read_records

pytestmark = [pytest.mark.framework, pytest.mark.timeout(300)]
MIRRORED = {"TRAINER_HOOKS_CLEARML": "1", "TRAINER_HOOKS_FLUSH_TIMEOUT": "30"}
# With a courier that gives up soon, so that `sync` may begin.
SHORTLY = {**MIRRORED, "TRAINER_HOOKS_FLUSH_TIMEOUT": "2", "TRAINER_HOOKS_LINGER": "0"}
# There, Ultralytics' own callback would switch itself off.
OUTSIDE_PYTEST = {"PYTEST_CURRENT_TEST": None, "GITHUB_ACTIONS": None}
# Its default, a forked reporter, hangs now and then at exit.
_CONFIG = "sdk { development { report_use_subprocess: false } }\n"
Scalars = set[tuple[str, str, int, float]]


@pytest.fixture(params=HOSTS)
def host(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def root(own_environment: Path) -> Path:
    return own_environment


@pytest.fixture(autouse=True)
def own_clearml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No ClearML of the machine's, and no offline session of the tests' among its user's."""
    config = tmp_path / "clearml.conf"
    config.write_text(_CONFIG)
    for name in [name for name in os.environ if name.startswith(("CLEARML_", "TRAINS_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CLEARML_CONFIG_FILE", str(config))
    monkeypatch.setenv("CLEARML_CACHE_DIR", str(tmp_path / "clearml"))
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path / "yolo"))


@pytest.fixture(scope="module")
def plain_weights(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Any], str]:
    """What a host's training says of its weights when nobody listens."""

    @functools.cache
    def of(host: Any) -> str:
        done = scripts.run(host, tmp_path_factory.mktemp("plain"))
        return next(line for line in done.stdout.splitlines() if line.startswith("weights "))

    return of


@pytest.fixture
def server() -> Iterator[ClearMLServer]:
    with ClearMLServer().serving() as running:
        yield running


def train(
    host: Any, folder: Path, server: ClearMLServer, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    return scripts.run(host, folder, "--autolog", *arguments, **OUTSIDE_PYTEST, **server.environment, **environment)


def sync(root: Path, **environment: str) -> None:
    """`trainer-hooks sync`, as soon as the run's own courier has given up."""
    command = [sys.executable, "-m", "trainer_hooks.cli", "sync", str(root)]

    def synchronised() -> bool:
        whole = {**os.environ, **environment}
        done = subprocess.run(command, env=whole, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0 or "its own courier is at work" in done.stdout, done.stdout + done.stderr
        return done.returncode == 0

    wait_until(synchronised, 60, "the run's own courier to end")


def records(root: Path) -> list[Record]:
    (run,) = list_runs(root)
    return list(read_records(run))


def journalled(root: Path) -> Scalars:
    """Every finite value that the journal holds, where it belongs in ClearML by docs/clearml.md."""
    found: Scalars = set()
    for record in records(root):
        event = record.event
        if isinstance(event, EpochEnded):
            found |= _placed(event.metrics, event.epoch, "train")
        elif isinstance(event, MetricsLogged):
            found |= _placed(event.metrics, SUMMARY if event.iteration is None else event.iteration, "train")
        elif isinstance(event, Validated):
            found |= _placed(event.metrics, SUMMARY if event.final else event.epoch or event.iteration or 0, "val")
    return found


def _placed(metrics: dict[str, Any], iteration: int, series: str) -> Scalars:
    finite = {name: value for name, value in metrics.items() if math.isfinite(float(value))}
    where = {name: ("Summary", name) if iteration == SUMMARY else place(name, series) for name in finite}
    return {(*where[name], iteration, value) for name, value in finite.items()}


def assert_mirrored_once(server: ClearMLServer, root: Path) -> None:
    scalars = server.scalars()
    assert set(scalars) == journalled(root)
    assert len(scalars) == len(set(scalars)), "a point arrived twice"
    assert scalars


def test_a_training_is_mirrored(host: Any, tmp_path: Path, root: Path, server: ClearMLServer) -> None:
    storage = f"file://{tmp_path}/store"

    done = train(host, tmp_path, server, **MIRRORED, TRAINER_HOOKS_STORAGE=storage)

    assert done.returncode == 0, done.stderr
    assert_mirrored_once(server, root)
    (run,) = list_runs(root)
    stored = read_history(run).latest.state.stored
    assert server.output_models() == {name: event.uri for name, event in stored.items()}
    assert set(stored) >= {"last", "best"}
    assert server.task["status"] == "completed"
    assert server.parameters("Run")["framework"] == host.name
    assert "clearml is not loaded" in done.stdout


@pytest.mark.long
def test_without_the_setting_and_a_task_nothing_is_mirrored(
    host: Any, tmp_path: Path, root: Path, server: ClearMLServer
) -> None:
    """Ultralytics' own callback, if it is that, makes a task while the trainer is built: that one is left to it."""
    done = train(host, tmp_path, server)

    assert done.returncode == 0, done.stderr
    (run,) = list_runs(root)
    assert not read_history(run).linked
    assert not {scalar[:2] for scalar in server.scalars()} & {("box_loss", "train"), ("loss", "train")}
    assert len(server.tasks) == (host is ultralytics)


_TRAINER_FIRST = """
import sys
from pathlib import Path
from ultralytics.models.yolo.detect import DetectionTrainer
from tests.hosts.ultralytics import MODEL, SETTINGS
from tools.synthetic import make_dataset

folder = Path(sys.argv[1])
data = str(make_dataset(folder / "data"))
own = {"model": str(MODEL), "data": data, "project": str(folder / "out"), "name": "train", "epochs": 2}
trainer = DetectionTrainer(overrides={**SETTINGS, **own})
import trainer_hooks
trainer_hooks.autolog("ultralytics", "clearml")
trainer.train()
"""


@pytest.mark.long
def test_a_trainer_that_was_built_before_is_mirrored_once(tmp_path: Path, root: Path, server: ClearMLServer) -> None:
    """Its callbacks have Ultralytics' own among them, which has made a task."""
    environment = {**os.environ, **server.environment, "TRAINER_HOOKS_FLUSH_TIMEOUT": "30"}
    outside = {name: value for name, value in environment.items() if name not in OUTSIDE_PYTEST}
    command = [sys.executable, "-c", _TRAINER_FIRST, str(tmp_path)]
    done = subprocess.run(
        command, cwd=scripts.ROOT, env=outside, capture_output=True, text=True, timeout=120, check=False
    )

    assert done.returncode == 0, done.stderr
    assert_mirrored_once(server, root)
    assert server.task["tags"] == ["Ultralytics"]


@with_hosts_by_turns("when", ["before", "after"])
def test_the_scripts_own_task_is_joined(
    host: Any, when: str, tmp_path: Path, root: Path, server: ClearMLServer
) -> None:
    done = train(
        host,
        tmp_path,
        server,
        *("--clearml-task", when),
        TRAINER_HOOKS_FLUSH_TIMEOUT="30",
        TRAINER_HOOKS_STORAGE=f"file://{tmp_path}/store",
    )

    assert done.returncode == 0, done.stderr
    assert_mirrored_once(server, root)
    assert server.task["name"] == "own task"
    assert server.task["status"] == "completed"
    assert set(server.output_models()) >= {"last", "best"}
    assert len(server.task["models"]["output"]) == len(server.output_models())
    (run,) = list_runs(root)
    linked = read_history(run).linked["clearml"]
    assert (linked.id, linked.joined, linked.captures_console) == (server.task["id"], True, True)


@with_host(ultralytics)
def test_the_scripts_task_of_a_training_that_is_killed(
    host: Any, tmp_path: Path, root: Path, server: ClearMLServer
) -> None:
    done = scripts.ended_by(
        host,
        tmp_path,
        "kill",
        epoch=2,
        arguments=["--autolog", "--clearml-task", "before"],
        environment=server.environment,
    )

    assert done.returncode == -signal.SIGKILL
    wait_until(lambda: server.task["status"] == "failed", what="the end of the task")
    assert server.task["status_reason"] == "lost"
    assert_mirrored_once(server, root)


@with_host(mmengine)
def test_the_scripts_task_of_a_training_that_fails(
    host: Any, tmp_path: Path, root: Path, server: ClearMLServer
) -> None:
    done = scripts.ended_by(
        host,
        tmp_path,
        "raise",
        epoch=2,
        arguments=["--autolog", "--clearml-task", "before"],
        environment={**server.environment, "TRAINER_HOOKS_FLUSH_TIMEOUT": "30"},
    )

    assert done.returncode == 1
    assert server.task["status"] == "failed"
    assert any("the user's own error" in message for message in server.console())
    assert_mirrored_once(server, root)


# The task's status, and what is said of it.
ENDS = {
    "raise": ("failed", "the user's own error"),
    "terminate": ("stopped", "SIGTERM"),
    "kill": ("failed", "killed"),
}


@with_hosts_by_turns("what", list(ENDS))
def test_how_a_training_ended(host: Any, what: str, tmp_path: Path, root: Path, server: ClearMLServer) -> None:
    status, said = ENDS[what]

    scripts.ended_by(
        host, tmp_path, what, epoch=2, arguments=["--autolog"], environment={**server.environment, **MIRRORED}
    )

    wait_until(lambda: server.tasks and server.task["status"] == status, what=f"the task to be {status}")
    assert said in server.task["status_message"]
    assert_mirrored_once(server, root)


@pytest.mark.long
@with_host(ultralytics)
def test_a_killed_training_and_its_killed_courier(host: Any, tmp_path: Path, root: Path, server: ClearMLServer) -> None:
    """The courier is killed in the middle of its work, too; `sync` does the rest."""
    server.answers.clear()  # so that it is in the middle of it
    scripts.ended_by(
        host,
        tmp_path,
        "kill",
        epoch=2,
        arguments=["--autolog"],
        environment={**server.environment, **MIRRORED},
    )
    (run,) = list_runs(root)
    courier = wait_until(lambda: load_courier(run), what="the courier")
    os.kill(courier.process.pid, signal.SIGKILL)
    server.answers.set()

    sync(root, **server.environment)

    assert_mirrored_once(server, root)
    assert server.task["status"] == "failed"


# Isolation


@with_hosts_by_turns("trouble", ["refuses", "hangs"], ["answers 503", "no credentials", "goes away in the middle"])
def test_trouble_with_clearml_is_no_trouble_of_the_training(
    host: Any, trouble: str, plain_weights: Callable[[Any], str], tmp_path: Path, root: Path, server: ClearMLServer
) -> None:
    environment = {**server.environment, **SHORTLY}
    if trouble == "refuses":
        environment["CLEARML_API_HOST"] = "http://127.0.0.1:9"
    elif trouble == "hangs":
        server.answers.clear()
    elif trouble == "answers 503":
        server.status = 503
    elif trouble == "no credentials":
        del environment["CLEARML_API_ACCESS_KEY"], environment["CLEARML_API_SECRET_KEY"]
    else:
        server.on_call = lambda called: setattr(server, "status", 503) if called == "events.add_batch" else None

    mirrored = scripts.run(host, tmp_path, "--autolog", **OUTSIDE_PYTEST, **environment)

    assert mirrored.returncode == 0, mirrored.stderr
    assert plain_weights(host) in mirrored.stdout.splitlines()
    assert "pending" in mirrored.stderr
    server.answers.set()
    server.status, server.on_call = 200, lambda _: None

    sync(root, **server.environment)

    assert server.task["status"] == "completed"
    found = server.scalars()
    # Where an answer got lost its points are sent again: ClearML knows a point by its place, so they are the same.
    assert set(found) == journalled(root)
    told = {record.time for record in records(root) if isinstance(record.event, EpochEnded)}
    sent = {event["timestamp"] for event in server.events if event["type"] == "training_stats_scalar"}
    assert {round(moment * 1000) for moment in told} <= sent


@with_host(mmengine)
def test_a_mirror_by_a_thread_changes_no_weights(
    host: Any, plain_weights: Callable[[Any], str], tmp_path: Path, root: Path, server: ClearMLServer
) -> None:
    done = train(host, tmp_path, server, **MIRRORED, TRAINER_HOOKS_DELIVERY="thread")

    assert done.returncode == 0, done.stderr
    assert plain_weights(host) in done.stdout.splitlines()
    assert_mirrored_once(server, root)


@pytest.mark.long
@with_host(ultralytics)
def test_offline_mode_is_for_a_later_sync(host: Any, tmp_path: Path, root: Path, server: ClearMLServer) -> None:
    done = train(host, tmp_path, server, **SHORTLY, CLEARML_OFFLINE_MODE="1")

    assert done.returncode == 0, done.stderr
    assert "offline mode is on" in done.stderr
    assert not server.calls
    sync(root, **server.environment)
    assert_mirrored_once(server, root)


@with_host(mmengine)
def test_an_offline_task_of_the_script(host: Any, tmp_path: Path, root: Path, server: ClearMLServer) -> None:
    """Its session holds nothing of the run, and a later sync makes a task for that."""
    done = train(host, tmp_path, server, "--clearml-task", "before", **SHORTLY, CLEARML_OFFLINE_MODE="1")

    assert done.returncode == 0, done.stderr
    (session,) = (tmp_path / "clearml").rglob("task.json")
    scalars = session.parent / "metrics.jsonl"
    events = [one for line in scalars.read_text().splitlines() for one in json.loads(line)] if scalars.exists() else []
    assert not [event for event in events if not event["metric"].startswith(":monitor")]
    sync(root, **server.environment)
    assert_mirrored_once(server, root)


_BY_THE_SDK = """
import json, sys
from clearml import Task

Task.set_offline(True)
task = Task.init("p", "t", auto_connect_frameworks=False, auto_connect_streams=False, auto_resource_monitoring=False)
for title, series, iteration, value in json.load(sys.stdin):
    if iteration == int(sys.argv[1]):
        task.get_logger().report_single_value(series, value)
    else:
        task.get_logger().report_scalar(title, series, value, iteration)
task.close()
print(task.get_offline_mode_folder())
"""


@pytest.mark.long
def test_what_is_sent_is_what_the_sdk_itself_would_write(tmp_path: Path, root: Path, server: ClearMLServer) -> None:
    """The journal's values, reported by the SDK in an offline session, and read back from its folder."""
    assert train(ultralytics, tmp_path, server, **MIRRORED).returncode == 0
    wanted = json.dumps(sorted(journalled(root)))
    command = [sys.executable, "-c", _BY_THE_SDK, str(SUMMARY)]
    done = subprocess.run(command, input=wanted, capture_output=True, text=True, check=True, timeout=120)

    session = Path(done.stdout.splitlines()[-1])
    lines = (session / "metrics.jsonl").read_text().splitlines()
    written = [event for line in lines for event in json.loads(line)]

    ours = [event for event in server.events if event["type"] == "training_stats_scalar"]
    fields = ("type", "metric", "variant", "iter", "value")
    assert {tuple(event[name] for name in fields) for event in ours} == {
        tuple(event[name] for name in fields) for event in written
    }
    assert {"task", "timestamp", *fields} == set(ours[0]) == set(written[0]) - {"method"}


@pytest.mark.long
def test_two_ranks_of_ultralytics_are_one_task(tmp_path: Path, root: Path, server: ClearMLServer) -> None:
    """Ultralytics launches them; in none of its processes does its own callback attach."""
    environment = {
        "PYTHONPATH": str(Path(scripts.__file__).parent / "ddp_on_cpu"),
        "TRAINER_HOOKS_STORAGE": f"file://{tmp_path}/store",
        "TRAINER_HOOKS_FLUSH_TIMEOUT": "30",
    }

    done = train(ultralytics, tmp_path, server, "--mirror", "--device=0,1", "--plots", **environment)

    assert done.returncode == 0, done.stderr
    assert_mirrored_once(server, root)
    assert server.task["status"] == "completed"
    assert set(server.output_models()) == {"last", "best"}
    assert "results" in {event["metric"] for event in server.events if event["type"] == "training_debug_image"}


# No doubles


@pytest.mark.long
def test_ultralytics_own_callback_logs_without_us(tmp_path: Path, server: ClearMLServer) -> None:
    """Else the tests of its absence would show nothing."""
    done = train(ultralytics, tmp_path, server, TRAINER_HOOKS_MODE="disabled")

    assert done.returncode == 0, done.stderr
    assert ("train", "train/box_loss", 0) in {scalar[:3] for scalar in server.scalars()}


@pytest.mark.long
def test_the_users_settings_of_ultralytics_stay_as_they_are(tmp_path: Path, server: ClearMLServer) -> None:
    scripts.run(ultralytics, tmp_path / "a")
    (settings,) = (tmp_path / "yolo").rglob("settings.json")
    before = settings.read_bytes()
    assert json.loads(before)["clearml"] is True

    train(ultralytics, tmp_path / "b", server, **MIRRORED)

    assert settings.read_bytes() == before
    assert server.task["tags"] == ["trainer_hooks", "ultralytics"]


def test_mmengines_own_backend(tmp_path: Path, root: Path, server: ClearMLServer) -> None:
    done = train(mmengine, tmp_path, server, "--clearml-backend", TRAINER_HOOKS_FLUSH_TIMEOUT="30")

    assert done.returncode == 0, done.stderr
    assert "ClearMLVisBackend is left out" in done.stderr + done.stdout
    assert server.task["name"] == "of the backend"
    assert_mirrored_once(server, root)
    assert not [call for call in server.calls if "artifact" in call]


_OWN_LOOP = """
import matplotlib; matplotlib.use("Agg")
import matplotlib.pyplot as plt, torch, trainer_hooks
from clearml import Task

def use_everything(name):
    torch.save({"weight": torch.zeros(3)}, f"{name}.pt")
    plt.figure(name); plt.plot([1, 2]); plt.title(name); plt.show(); plt.close()

Task.init("p", "t", auto_resource_monitoring=False)
with trainer_hooks.start_run(total_epochs=1) as run:
    use_everything("during")
    run.log_checkpoint("during.pt", epoch=1)
use_everything("after")
"""


def test_what_clearml_copies_by_itself_is_held_back_while_the_run_is_open(
    tmp_path: Path, server: ClearMLServer
) -> None:
    environment = {**server.environment, "TRAINER_HOOKS_STORAGE": f"file://{tmp_path}/store"}
    whole = {**os.environ, **environment, "TRAINER_HOOKS_FLUSH_TIMEOUT": "30", "PYTHONPATH": str(scripts.ROOT)}
    command = [sys.executable, "-c", _OWN_LOOP]
    done = subprocess.run(command, cwd=tmp_path, env=whole, capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 0, done.stderr
    places = [model["uri"] for model in server.models.values()]
    assert [place for place in places if "during" in place] == []
    assert [place for place in places if "last" in place] == [server.output_models()["last"]]
    assert [place for place in places if "after" in place]
    plots = {event["metric"] for event in server.events if event["type"] in ("plot", "training_debug_image")}
    assert plots == {"after"}


@pytest.mark.long
def test_exit_does_not_wait_for_a_server_that_hangs(tmp_path: Path, server: ClearMLServer) -> None:
    """It was never reached; else it would wait for longer than the test does."""
    server.answers.clear()

    done = train(ultralytics, tmp_path, server, **{**MIRRORED, "TRAINER_HOOKS_FLUSH_TIMEOUT": "600"})

    assert done.returncode == 0, done.stderr


# Set-up


def test_a_framework_is_wanted_beside_it() -> None:
    with pytest.raises(UnknownFramework, match="name what to attach to"):
        trainer_hooks.autolog("clearml")


def test_without_the_package_the_mend_is_said_at_once() -> None:
    code = """
import sys
finders = sys.meta_path[:]
class Without:
    @staticmethod
    def find_spec(name, path=None, target=None):
        found = (finder.find_spec(name, path, target) for finder in finders if name != "clearml")
        return next(filter(None, found), None)
sys.meta_path[:] = [Without]
import trainer_hooks
trainer_hooks.autolog("ultralytics", "clearml")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert "MissingPackage" in done.stderr.splitlines()[-1]
    assert "pip install 'trainer-hooks[clearml]'" in done.stderr.splitlines()[-1]


# Images


def test_what_ultralytics_has_drawn(tmp_path: Path, root: Path, server: ClearMLServer) -> None:
    done = train(ultralytics, tmp_path, server, "--plots", **MIRRORED)

    assert done.returncode == 0, done.stderr
    shown = {event["metric"] for event in server.events if event["type"] == "training_debug_image"}
    assert shown >= {"results", "confusion_matrix", "val_batch0_pred", "labels"}
    assert all(content.startswith((b"\x89PNG", b"\xff\xd8")) for content in server.files.values())
    (run,) = list_runs(root)
    assert not list((run / "images").iterdir())


def test_what_is_drawn_in_mmengine(
    tmp_path: Path, root: Path, server: ClearMLServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def draw() -> None:
        Visualizer.get_current_instance().add_image("val/predictions", np.zeros((8, 8, 3), np.uint8), step=4)

    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    with trainer_hooks.autolog("mmengine", "clearml"):
        trained = mmengine.train(tmp_path, at=[mmengine.AFTER_EPOCH], do=draw, epoch=2, clearml_backend=False)

    assert trained.error is None
    wait_until(lambda: server.files, what="the image")
    wait_until(lambda: server.task["status"] == "completed", what="the end")
    (event,) = (event for event in server.events if event["type"] == "training_debug_image")
    assert (event["metric"], event["iter"]) == ("val/predictions", 4)
    (run,) = list_runs(root)
    assert not list((run / "images").iterdir())
    assert not list((run / "drawn").rglob("*.png"))

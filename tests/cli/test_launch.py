"""`trainer-hooks run`: the command is as without us, and every Python below it is attached."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.parts import COMMAND, REPOSITORY, launch
from tests.hosts import ultralytics
from tests.waiting import wait_until
from tools.synthetic import make_dataset
from trainer_hooks.events import RunFailed
from trainer_hooks.history import list_runs, read_history

PYTHON = sys.executable
OPTIONS = ["imgsz=64", "batch=8", "workers=0", "plots=False", "amp=False", "optimizer=SGD", "device=cpu", "epochs=1"]


@pytest.fixture
def toy(tmp_path: Path) -> dict[str, str]:
    """A third party's framework and its integration, installed as an entry point; attaching is said on stdout."""
    place = tmp_path / "site"
    files = {
        "toyframework/__init__.py": "loading = True\n",
        "toyframework/data.py": "",
        "toyframework/engine.py": "class Trainer: pass\n",
        "toy_hooks.py": (
            "import toyframework\nfrom toyframework.engine import Trainer\n"
            "def attach(opener):\n    print('attached to', Trainer.__name__)\n    return lambda: None\n"
        ),
        "toy_hooks-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: toy-hooks\nVersion: 1.0\n",
        "toy_hooks-1.0.dist-info/entry_points.txt": ("[trainer_hooks.integrations]\ntoyframework = toy_hooks:attach\n"),
    }
    for name, content in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(content)
    return {"PYTHONPATH": str(place)}


@pytest.mark.parametrize("status", [0, 1, 3, 255])
def test_the_exit_status_is_the_commands(status: int) -> None:
    assert launch("--", "sh", "-c", f"exit {status}").returncode == status


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGABRT])
def test_a_command_that_dies_of_a_signal_is_seen_to_die_of_it(number: signal.Signals) -> None:
    assert (
        launch(
            "--",
            PYTHON,
            "-c",
            f"import os, signal; signal.signal({int(number)}, signal.SIG_DFL) "
            f"if {int(number)} != 9 else 0; os.kill(os.getpid(), {int(number)})",
        ).returncode
        == -number
    )


def test_a_signal_reaches_the_command_once(tmp_path: Path) -> None:
    count = (
        "import pathlib, signal, sys; said = pathlib.Path(sys.argv[1]);"
        "signal.signal(signal.SIGTERM, lambda *_: said.open('a').write('terminated '));"
        "said.write_text('ready '); signal.pause(); sys.exit(7)"
    )
    said = tmp_path / "said"
    process = subprocess.Popen([*COMMAND, "run", "--", PYTHON, "-c", count, said])
    try:
        wait_until(lambda: said.exists() and said.read_text() == "ready ", what="the command's word")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 7
    finally:
        process.kill()
    assert said.read_text() == "ready terminated "


def test_input_and_output_are_the_commands() -> None:
    done = launch("--", "sh", "-c", "cat; echo to stderr >&2", stdin="from stdin")
    assert (done.stdout, done.stderr) == ("from stdin", "to stderr\n")


def test_signals_that_python_ignores_are_not_ignored_in_the_command() -> None:
    shown = launch("--", "sh", "-c", "grep SigIgn /proc/$$/status").stdout.split()[1]
    assert not int(shown, 16) & (1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1))


def test_a_command_that_is_not_there_is_127_and_one_that_cannot_be_executed_126(tmp_path: Path) -> None:
    missing = launch("--", "no-such-command")
    script = tmp_path / "train.py"
    script.write_text("")
    refused = launch("--", script)
    assert (missing.returncode, missing.stderr) == (127, "trainer-hooks run: no-such-command: not found\n")
    assert refused.returncode == 126
    assert f"run it by: trainer-hooks run -- python {script}" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "env", "said"),
    [
        (["--framework", "mmengin", "--", "true"], {}, "no integration for 'mmengin' (known: "),
        (["--", "true"], {"TRAINER_HOOKS_AUTOLOG": "nothing"}, "no integration for 'nothing'"),
        (["--", "true"], {"TRAINER_HOOKS_MODE": "loud"}, "'mode' from TRAINER_HOOKS_MODE can't be 'loud'"),
        ([], {}, "Usage:"),
    ],
)
def test_a_mistake_is_said_before_the_command_starts(arguments: list[str], env: dict[str, str], said: str) -> None:
    done = launch(*arguments, env=env)
    assert done.returncode == 2
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_it_attaches_when_the_host_has_imported_what_the_integration_needs(toy: dict[str, str]) -> None:
    host = "import toyframework, toyframework.data; print('data'); import toyframework.engine; print('engine')"
    done = launch("--framework", "toyframework", "--", "sh", "-c", f'"{PYTHON}" -c "{host}"', env=toy)
    assert done.stdout.splitlines() == ["data", "attached to Trainer", "engine"]
    assert done.stderr == ""


def test_a_host_that_does_not_import_the_trainer_is_left_alone(toy: dict[str, str]) -> None:
    host = "import sys, toyframework.data; print('toyframework.engine' in sys.modules, 'toy_hooks' in sys.modules)"
    assert launch("--", PYTHON, "-c", host, env=toy).stdout == "False False\n"


def test_a_process_without_a_framework_loads_nothing_of_ours(toy: dict[str, str]) -> None:
    host = "import sys; print([name for name in sys.modules if 'trainer_hooks' in name or name == 'msgspec'])"
    assert launch("--", PYTHON, "-c", host, env=toy).stdout == "[]\n"


def test_modules_keep_their_loader_and_the_path_is_as_without_us(toy: dict[str, str]) -> None:
    host = (
        "import sys, toyframework as t; print(sys.path);"
        "print(type(t.__loader__).__name__, sorted(vars(t.__loader__)), t.__spec__.loader is t.__loader__)"
    )
    alone = subprocess.run(
        [PYTHON, "-c", host], env={**os.environ, **toy}, capture_output=True, text=True, check=True
    ).stdout
    assert launch("--", PYTHON, "-c", host, env=toy).stdout == alone


def test_the_sitecustomize_that_is_hidden_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.hidden = __name__")
    host = "import sys; print(sys.hidden, sys.modules['sitecustomize'].__file__)"
    done = launch("--", PYTHON, "-c", host, env={"PYTHONPATH": str(tmp_path)})
    assert done.stdout == f"sitecustomize {tmp_path}/sitecustomize.py\n"


def test_an_error_in_the_hidden_sitecustomize_is_told_as_without_us(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import missing_module_of_theirs")
    env = {"PYTHONPATH": str(tmp_path)}
    alone = subprocess.run(
        [PYTHON, "-c", "pass"], env={**os.environ, **env}, capture_output=True, text=True, check=False
    )
    done = launch("--", PYTHON, "-c", "pass", env=env)
    assert "missing_module_of_theirs" in alone.stderr
    assert (done.returncode, done.stderr.splitlines()[-1]) == (alone.returncode, alone.stderr.splitlines()[-1])


def test_a_run_in_a_run_attaches_once(toy: dict[str, str]) -> None:
    inner = [*COMMAND, "run", "--", PYTHON, "-c", "import toyframework.engine"]
    assert launch("--", *inner, env=toy).stdout == "attached to Trainer\n"


def test_an_integration_that_fails_is_warned_of_and_the_host_goes_on(toy: dict[str, str]) -> None:
    (Path(toy["PYTHONPATH"]) / "toy_hooks.py").write_text(
        "from toyframework.engine import Trainer\ndef attach(opener): raise ZeroDivisionError('ours')"
    )
    done = launch("--", PYTHON, "-c", "import toyframework.engine; print('trained')", env=toy)
    assert (done.returncode, done.stdout) == (0, "trained\n")
    assert done.stderr.count("an error while attaching to toyframework; the training goes on") == 1
    assert "ZeroDivisionError: ours" in done.stderr


def test_a_set_up_mistake_that_shows_only_in_the_host_is_said_in_one_line(toy: dict[str, str]) -> None:
    host = f'TRAINER_HOOKS_LINGER=long "{PYTHON}" -c "import toyframework.engine; print(1)"'
    done = launch("--", "sh", "-c", host, env=toy)
    assert (done.returncode, done.stdout) == (0, "1\n")
    assert done.stderr.startswith(
        "trainer_hooks: toyframework is not recorded: setting 'linger' from TRAINER_HOOKS_LINGER"
    )
    assert len(done.stderr.splitlines()) == 1


def test_a_python_without_trainer_hooks_says_so_and_goes_on(toy: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "site" / "trainer_hooks.py").write_text("raise ModuleNotFoundError('none here')")
    bootstrap = REPOSITORY / "trainer_hooks" / "bootstrap"
    env = {"TRAINER_HOOKS_AUTOLOG": "toyframework", "PYTHONPATH": f"{bootstrap}:{toy['PYTHONPATH']}"}
    host = [PYTHON, "-c", "import toyframework.engine; print('trained')"]
    # Elsewhere, since the working directory stands first on the path.
    done = subprocess.run(host, env={**os.environ, **env}, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "trained\n")
    assert done.stderr == f"trainer_hooks is not installed for {PYTHON}: toyframework is not recorded\n"


def test_nothing_is_attached_in_mode_disabled(toy: dict[str, str]) -> None:
    env = {**toy, "TRAINER_HOOKS_MODE": "disabled"}
    done = launch("--", PYTHON, "-c", "import os, toyframework.engine; print(os.environ['PYTHONPATH'])", env=env)
    assert done.stdout == f"{toy['PYTHONPATH']}\n"


@pytest.mark.framework
@pytest.mark.slow
def test_a_yolo_command_line_training_is_recorded(tmp_path: Path, own_environment: Path) -> None:
    data = make_dataset(tmp_path / "data")
    yolo = Path(PYTHON).with_name("yolo")
    arguments = ["detect", "train", f"model={ultralytics.MODEL}", f"data={data}", f"project={tmp_path}/out", *OPTIONS]
    done = launch("--", yolo, *arguments)
    assert done.returncode == 0, done.stderr
    (run,) = list_runs(own_environment)
    latest = read_history(run).latest
    assert (latest.status, latest.state.epoch) == ("completed", 1)


@pytest.mark.long
@pytest.mark.framework
@pytest.mark.slow
def test_a_script_below_a_shell_that_fails_keeps_its_status_and_is_told(tmp_path: Path, own_environment: Path) -> None:
    train = f'"{PYTHON}" -m tests.hosts.ultralytics "{tmp_path}" 2 --do raise --at on_fit_epoch_end'
    done = launch("--", "bash", "-c", train, cwd=REPOSITORY)
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith("RuntimeError: the user's own error")
    (run,) = list_runs(own_environment)
    ended = read_history(run).latest.state.ended
    assert isinstance(ended, RunFailed)
    assert ended.message == "the user's own error"

"""What all tests share: an environment of their own, and no error of ours that goes unseen."""

from __future__ import annotations

import importlib.util
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainer_hooks import shield
from trainer_hooks.settings import AUTOLOG, ENVIRONMENT

# Some have an environment of their own (`make test-mmdet`, `make test-hosts`), and some can't even be read without a
# framework, and so without torch; chaos takes minutes (`make chaos`), and runs only where it is named.
_NEED = {
    "downstream": "mmdet",
    "integrations/test_transformers.py": "transformers",
    "integrations/test_transformers_heirs.py": "trl",
    "actions/test_action.py": "torch",
    "actions/test_document.py": "torch",
    "datasets/test_cases.py": "torch",
    "datasets/test_oracles.py": "torch",
    "datasets/test_properties.py": "torch",
    "destinations/test_checkpoints.py": "torch",
    "integrations": "torch",
    "page": "torch",
    "test_checkpoint_files.py": "torch",
    "test_errors.py": "torch",
}
collect_ignore = ["chaos", *(path for path, package in _NEED.items() if importlib.util.find_spec(package) is None)]

_OF_SETTINGS = {variable for env in ENVIRONMENT.values() for variable in env.names}


@pytest.fixture(autouse=True)
def own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No setting of the machine's counts; runs are kept in the test's own folder, and couriers soon end."""
    for variable in (_OF_SETTINGS | {AUTOLOG}) & os.environ.keys():
        monkeypatch.delenv(variable)
    root = tmp_path / "trainer_runs"
    monkeypatch.setenv("TRAINER_HOOKS_DIR", str(root))
    monkeypatch.setenv("TRAINER_HOOKS_BACKEND", str(tmp_path / "trainer_backend"))
    monkeypatch.setenv("TRAINER_HOOKS_MODEL_CACHE", str(tmp_path / "models"))
    monkeypatch.setenv("TRAINER_HOOKS_LINGER", "10")
    monkeypatch.setenv("TRAINER_HOOKS_FLUSH_TIMEOUT", "0")  # the test process itself has nobody to wait for
    monkeypatch.setenv("CALLBACK_RETRY_DELAY", "0.2")
    return root


@pytest.fixture(autouse=True)
def nothing_swallowed(request: pytest.FixtureRequest) -> Iterator[None]:
    """A bug of ours is silent in production, by promise; here it makes the test red, unless it is what is tested."""
    shield.caught.clear()
    yield
    if not request.node.get_closest_marker("swallows"):
        assert not shield.caught, f"errors of ours were swallowed: {dict(shield.caught)}"


_ULTRALYTICS_SETTINGS = tempfile.TemporaryDirectory(prefix="ultralytics-")


def pytest_configure() -> None:
    """Ultralytics neither asks the network nor touches the user's settings; said before any test file imports it."""
    # Where the tests themselves run in the background of a shell, or under nohup, these are ignored, and so they would
    # be in all that they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    # The models are tiny, and several processes share the cores: more threads in each would only wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["YOLO_OFFLINE"] = "1"
    os.environ["YOLO_CONFIG_DIR"] = _ULTRALYTICS_SETTINGS.name


def pytest_unconfigure() -> None:
    """Nothing is left behind."""
    _ULTRALYTICS_SETTINGS.cleanup()

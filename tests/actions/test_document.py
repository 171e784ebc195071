"""What the pages show of actions runs, on real Ultralytics with no server.

The two examples are predecessor A's document's, unchanged but for their imports.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest
import torch

from tests.hosts.ultralytics import MODEL
from tools.synthetic import make_dataset
from trainer_hooks.actions import load_action, run_action
from trainer_hooks.events import EpochEnded, ProgressMade, RunCompleted, StepFinished
from trainer_hooks.history import list_runs, read_history
from trainer_hooks.journal import read_records

pytestmark = pytest.mark.framework
ROOT = Path(__file__).parent.parent.parent
EXAMPLES = ROOT / "examples" / "actions"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the weights that the examples begin with, and a backend with a data collection, 1."""
    from ultralytics import YOLO

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRAINER_HOOKS_DELIVERY", "none")
    YOLO(MODEL).save("yolov8n.pt")
    make_dataset(tmp_path / "trainer_backend" / "data_collections" / "1")
    return tmp_path


def run(entrypoint: str, place: Path, root: Path) -> tuple[dict, list]:
    """The result of that action in that folder, and what was told; the action's module is not kept."""
    try:
        result = run_action(load_action(entrypoint, place), {"dataset_id": 1, "epochs": 1})
    finally:
        sys.modules.pop(entrypoint.partition(":")[0], None)
        sys.path.remove(str(place))
    (directory,) = list_runs(root)
    assert read_history(directory).latest.status == "completed"
    return result, [record.event for record in read_records(directory)]


def uploaded(folder: Path, model_id: object) -> Path:
    (file,) = (folder / "trainer_backend" / "models" / str(model_id)).rglob("*.pt")
    return file


def test_the_simple_example(folder: Path, own_environment: Path) -> None:
    result, events = run("train_action:MyTrainAction", EXAMPLES, own_environment)
    assert uploaded(folder, result["model_id"]).read_bytes() == Path(result["weights_path"]).read_bytes()
    assert Path(result["weights_path"]).name == "best.pt"
    assert [event.category for event in events if isinstance(event, ProgressMade)] == [
        "dataset",
        "train",
        "model_upload",
    ]
    assert len([event for event in events if isinstance(event, EpochEnded)]) == 1
    (completed,) = [event for event in events if isinstance(event, RunCompleted)]
    assert completed.result == result


@pytest.mark.long
def test_the_example_in_steps(folder: Path, own_environment: Path) -> None:
    result, events = run("train_steps:MyTrainAction", EXAMPLES, own_environment)
    assert (result["success"], result["steps_executed"], result["steps_total"]) == (True, 3, 3)
    torch.load(uploaded(folder, result["model_id"]), weights_only=False)
    finished = [event.step for event in events if isinstance(event, StepFinished)]
    assert finished == ["load_dataset", "train", "upload_model"]


@pytest.mark.long
@pytest.mark.parametrize(("page", "action"), [("README.md", "Train"), ("docs/actions.md", "MyTrainAction")])
def test_what_the_page_shows(page: str, action: str, folder: Path, own_environment: Path) -> None:
    shutil.copy(MODEL, folder / "yolo11.yaml")  # by which Ultralytics knows "yolo11n.yaml", too
    shown = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
    (code,) = [block for block in shown if "BaseTrainAction[" in block]
    (folder / "my_module.py").write_text(code)
    result, _ = run(f"my_module:{action}", folder, own_environment)
    torch.load(uploaded(folder, result["model_id"]), weights_only=False)

"""Every block of Python in the pages runs as it stands there, with what its reader would have around it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.pages.reading import ROOT, Block, blocks
from tools.synthetic import make_coco, make_dataset
from trainer_hooks import datasets


@dataclass(frozen=True)
class Reader:
    """Who copies a block: what lies in the folder, the code around it, what is put in place of what.

    `needs` is a framework that `make test` does not install: `make test-hosts` does.
    """

    folder: Callable[[Path], object] = lambda _: None
    before: str = ""
    after: str = ""
    instead: Mapping[str, str] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    needs: str = ""

    def script(self, block: Block) -> str:
        code = block.code
        for text, other in self.instead.items():
            code = code.replace(text, other)
        return f"{self.before}\n{code}\n{self.after}"


def yolo_dataset(folder: Path) -> None:
    make_dataset(folder, images=8, size=32)


def coco_dataset(folder: Path) -> None:
    make_coco(folder / "shapes", images=8, size=32)


def own_integration(folder: Path) -> None:
    for path in (ROOT / "examples" / "own_integration").glob("*.py"):
        (folder / path.name).write_text(path.read_text())


def stored_dataset(folder: Path) -> None:
    coco_dataset(folder)
    place = folder / "store" / "datasets" / "ds_1"
    place.parent.mkdir(parents=True)
    datasets.convert(folder / "shapes", source="coco", target="dice", task="detection", to=place)


def interrupted_training(folder: Path) -> None:
    yolo_dataset(folder)
    done = run(INTERRUPTED, folder)
    assert (folder / LAST).exists(), done.stderr


def backend(folder: Path) -> None:
    yolo_dataset(folder)
    (folder / "best.pt").write_bytes(b"weights")
    collections = folder / "trainer_backend" / "data_collections"
    collections.mkdir(parents=True)
    for number in (1, 7):
        (collections / f"{number}.json").write_text('{"name": "shapes", "path": "../../data.yaml", "count": 12}')


LAST = "runs/detect/train/weights/last.pt"
INTERRUPTED = """
import os

from ultralytics import YOLO

def stop(trainer):
    raise KeyboardInterrupt

model = YOLO("yolo11n.yaml")
model.add_callback("on_model_save", stop)
model.train(data="data.yaml", epochs=2, imgsz=32, project=os.path.abspath("runs/detect"), name="train")
"""
IN_A_CONFIG = """
from mmengine.config import Config
from mmengine.registry import HOOKS

for hook in custom_hooks:
    kind = hook.pop("type")
    assert (HOOKS.get(kind) if isinstance(kind, str) else kind).__name__ == "TrainerHook"
"""
STORED = {"TRAINER_HOOKS_DATASET_STORAGE": "file://{folder}/store", "DATASET_CACHE_DIR": "{folder}/cache"}
ULTRALYTICS = Reader(yolo_dataset, instead={"epochs=3": "epochs=1, imgsz=32"})
CONFIG = Reader(after=IN_A_CONFIG)
CONVERT = "datasets.convert('shapes', source='coco', target='yolo', task='detection', to=next(places),"


def of_action(name: str) -> Reader:
    after = f"""
from trainer_hooks.actions import run_action
assert run_action({name}, {{"dataset_id": 1}})["model_id"] == 1
"""
    return Reader(backend, after=after, instead={"epochs=self.params.epochs": "epochs=1, imgsz=32"})


TINYTRAIN = """
import os
from pathlib import Path
from trainer_hooks.history import read_history
from trainer_hooks.integrations import OwnOpener
from trainer_hooks.settings import Settings
detach = attach(OwnOpener(Settings.load(run_id="tiny")))
tinytrain.Trainer(epochs=2).fit(float)
detach()
state = read_history(Path(os.environ["TRAINER_HOOKS_DIR"], "tiny")).latest.state
assert (state.epoch, state.started.framework, [*state.saved]) == (2, "tinytrain", ["last"]), state
"""
TINYTRAIN_IMPORTS = "import trainer_hooks_tinytrain\nfrom trainer_hooks_tinytrain import *"
TINYTRAIN_ATTACH = f"""
for part in (Fitting, Saving):
    setattr(trainer_hooks_tinytrain, part.__name__, part)
{TINYTRAIN}"""
READERS = {
    "README.md": [
        ULTRALYTICS,
        CONFIG,
        Reader(
            lambda folder: (folder / "last.pt").write_bytes(b"weights"),
            "import trainer_hooks\ntrain_one_epoch = lambda: 0.5",
        ),
        Reader(stored_dataset, environ=STORED),
        of_action("Train"),
    ],
    "actions.md": [of_action("MyTrainAction")],
    "backend.md": [Reader(backend)],
    "clearml.md": [
        Reader(before="import trainer_hooks", environ={"CLEARML_OFFLINE_MODE": "1"}),
    ],
    "datasets.md": [
        Reader(coco_dataset, instead={"epochs=3": "epochs=1, imgsz=32"}),
        Reader(
            stored_dataset,
            "from trainer_hooks import datasets",
            instead={', snapshot_id="snap_9", version_hash="…"': ""},
            environ=STORED,
        ),
        Reader(
            coco_dataset,
            "from trainer_hooks import datasets\nplaces = iter('abcd')",
            instead={"datasets.convert(…,": CONVERT, r"(patient\d+)_": r"(\d)"},
        ),
    ],
    "huggingface.md": [Reader(needs="transformers")],
    "index.md": [ULTRALYTICS],
    "lightning.md": [Reader(needs="lightning"), Reader(needs="pytorch_lightning")],
    "migrating-from-synapse.md": [Reader(instead={"from synapse_sdk": "# from synapse_sdk"})],
    "migrating-from-trainer-sdk.md": [Reader(instead={"from trainer_sdk": "# from trainer_sdk"})],
    "mmengine.md": [CONFIG, CONFIG, Reader(after="import mmengine")],
    "resume.md": [
        Reader(before="import trainer_hooks", environ={"JOB_ID": "7"}),
        CONFIG,
        Reader(before="import trainer_hooks"),
    ],
    "steps.md": [
        Reader(
            backend,
            before="from pydantic import BaseModel\nclass MyParams(BaseModel):\n    dataset_id: int\nbest = 'best.pt'",
            after="from trainer_hooks.actions import run_action\nrun_action(MyAction, {'dataset_id': 1})",
        )
    ],
    "ultralytics.md": [
        Reader(),
        Reader(interrupted_training, "from ultralytics import YOLO"),
        Reader(before="from ultralytics import YOLO\nmodel = YOLO('yolo11n.yaml')", after="assert model.callbacks"),
    ],
    "writing-an-integration.md": [
        Reader(own_integration, after=f"from trainer_hooks_tinytrain import Fitting, Saving\n{TINYTRAIN}"),
        Reader(own_integration, f"{TINYTRAIN_IMPORTS}\nfrom trainer_hooks_tinytrain import Saving", TINYTRAIN_ATTACH),
        Reader(own_integration, f"{TINYTRAIN_IMPORTS}\nfrom trainer_hooks_tinytrain import Fitting", TINYTRAIN_ATTACH),
    ],
}


def run(code: str, folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    place = {"PYTHONPATH": str(ROOT), "TRAINER_HOOKS_FLUSH_TIMEOUT": "5"}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, **place, **environ},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_no_block_is_left_out() -> None:
    found = Counter(block.page for block in blocks("python"))
    assert found == {page: len(readers) for page, readers in READERS.items()}


@pytest.mark.long
@pytest.mark.framework
@pytest.mark.usefixtures("own_environment")
@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_a_block_of_python_runs(block: Block, tmp_path: Path) -> None:
    reader = READERS[block.page][block.number - 1]
    if reader.needs:
        pytest.importorskip(reader.needs, reason="in an environment of its own: make test-hosts")
    reader.folder(tmp_path)
    environ = {name: value.format(folder=tmp_path) for name, value in reader.environ.items()}
    done = run(reader.script(block), tmp_path, **environ)
    assert done.returncode == 0, done.stderr

"""The frameworks that `compatibility.py` tries versions of: which ones, what they need, how a training is judged."""

from __future__ import annotations

import csv
import hashlib
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import distributions
from importlib.metadata import version as installed
from pathlib import Path

from packaging.requirements import Requirement

from trainer_hooks.events import AnyEvent, CheckpointStored, EpochEnded, RunFailed, Validated
from trainer_hooks.history import list_runs, read_history
from trainer_hooks.journal import read_records

_OLD_LOADING = {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
_CSV_DIGITS = 1e-4


@dataclass(frozen=True)
class Help:
    """What a version needs beside itself to train here."""

    numpy1: bool = False
    old_loading: bool = False

    def environment(self) -> dict[str, str]:
        """The variables that are part of it."""
        return _OLD_LOADING if self.old_loading else {}

    def __str__(self) -> str:
        needs = ["numpy < 2"] if self.numpy1 else []
        needs += [f"{name}={value}" for name, value in self.environment().items()]
        return f"needs {' and '.join(needs)}" if needs else ""


@dataclass
class Row:
    """One line of the table."""

    version: str
    numpy: str
    trains: bool = False
    verdicts: dict[str, bool] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Scene:
    """The folder of one process."""

    folder: Path

    @property
    def runs(self) -> Path:
        """Where its runs are kept."""
        return self.folder / "trainer_runs"

    def told(self) -> list[AnyEvent]:
        """What its only run told; nothing where it hasn't completed."""
        runs = list(list_runs(self.runs))
        if [read_history(run).latest.status for run in runs] != ["completed"]:
            return []
        return [record.event for record in read_records(runs[0])]

    def has_failed(self) -> bool:
        """Whether its only run has ended as failed."""
        return [type(read_history(run).latest.state.ended) for run in list_runs(self.runs)] == [RunFailed]


@dataclass(frozen=True)
class Host:
    """A framework. `explained` are the table's columns of verdicts."""

    name: str
    title: str
    package: str
    versions: Sequence[str]
    explained: Mapping[str, str]
    helps: Callable[[Path], Sequence[Help]]
    """What to try, in order, for the version that is installed in that folder."""
    environment: Callable[[Scene], Mapping[str, str]]
    succeeding: Sequence[str]
    """The host's options for the training that `judged` is about, unless `others` has options for that verdict."""
    judged: Mapping[str, Callable[[Scene], bool]]
    others: Mapping[str, Sequence[str]]
    old_libraries: Sequence[str] = ()
    own_libraries: Sequence[str] = ()
    """Those that each version wants within bounds of its own; they are installed beside it."""

    def requirement(self, version: str) -> str:
        """What pip is asked for; a version may name another package: `fork==1.0`."""
        return version if "==" in version else f"{self.package}=={version}"

    def libraries(self, place: Path) -> list[str]:
        """What the version that is installed in that folder requires of its `own_libraries`."""
        if not self.own_libraries:
            return []
        (found,) = (one for one in distributions(path=[str(place)]) if one.name == self.package)
        required = [one for one in map(Requirement, found.requires or ()) if one.marker is None]
        return [f"{one.name}{one.specifier}" for one in required if one.name in self.own_libraries]

    def verdicts(self, scene: Scene) -> dict[str, bool]:
        """Those about the training that succeeded."""
        return {name: judge(scene) for name, judge in self.judged.items() if name not in self.others}


def _epochs_of(told: Sequence[AnyEvent], wanted: set[str]) -> list[EpochEnded]:
    """The epochs 1 and 2, each told once and with these metrics; none where it isn't so."""
    epochs = [event for event in told if isinstance(event, EpochEnded)]
    right = [event.epoch for event in epochs] == [1, 2] and all(event.metrics.keys() >= wanted for event in epochs)
    return epochs if right else []


def _stored(told: Sequence[AnyEvent]) -> dict[str, CheckpointStored]:
    return {event.name: event for event in told if isinstance(event, CheckpointStored)}


def _is_stored_as_left(stored: CheckpointStored, left: Path) -> bool:
    return stored.sha256 == hashlib.sha256(left.read_bytes()).hexdigest()


def _is_near(told: float, written: float) -> bool:
    return abs(told - written) <= _CSV_DIGITS * max(1.0, abs(written))


# Ultralytics

_ULTRALYTICS_METRICS = {
    *("train/box_loss", "train/cls_loss", "train/dfl_loss", "val/box_loss", "metrics/mAP50-95(B)", "lr/pg0")
}


def _ultralytics_helps(place: Path) -> Sequence[Help]:
    """The first to try is the numpy of the version's own requirements."""
    (found,) = distributions(path=[str(place)])
    required = [one for one in map(Requirement, found.requires or ()) if one.name == "numpy" and one.marker is None]
    fits = all(one.specifier.contains(installed("numpy")) for one in required)
    helps = (Help(), Help(old_loading=True), Help(numpy1=True), Help(numpy1=True, old_loading=True))
    return sorted(helps, key=lambda help_: help_.numpy1 == fits)


def _ultralytics_environment(scene: Scene) -> Mapping[str, str]:
    return {"YOLO_AUTOINSTALL": "false", "YOLO_CONFIG_DIR": str(scene.folder), "YOLO_OFFLINE": "1"}


def _ultralytics_epochs(scene: Scene) -> bool:
    epochs = _epochs_of(scene.told(), _ULTRALYTICS_METRICS)
    for event, row in zip(epochs, _read_csv(scene.folder / "out/train/results.csv"), strict=bool(epochs)):
        for name, value in row.items():
            told = event.metrics.get(name)
            if name not in {"epoch", "time"} and (told is None or not _is_near(float(told), value)):
                return False
    return bool(epochs)


def _read_csv(path: Path) -> Iterator[dict[str, float]]:
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            yield {name.strip(): float(value) for name, value in row.items()}


def _ultralytics_validations(scene: Scene) -> bool:
    return [event.final for event in scene.told() if isinstance(event, Validated)] == [False, False, True]


def _ultralytics_checkpoints(scene: Scene) -> bool:
    stored = _stored(scene.told())
    left = scene.folder / "out/train/weights/best.pt"
    return stored.keys() == {"last", "best"} and stored["best"].final and _is_stored_as_left(stored["best"], left)


# MMEngine


def _mmengine_epochs(scene: Scene) -> bool:
    losses = {"train/loss", "train/loss_sharp", "train/loss_l2"}
    epochs = _epochs_of(scene.told(), {*losses, "train/lr", "train/time"})
    return bool(epochs) and all(
        _is_near(
            float(event.metrics["train/loss"]), sum(float(event.metrics[part]) for part in losses - {"train/loss"})
        )
        for event in epochs
    )


def _mmengine_validations(scene: Scene) -> bool:
    """Those of the host's own log, at its own epochs."""
    (log,) = (scene.folder / "out").glob("*/vis_data/scalars.json")
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    written = [(row["step"], row["accuracy/sure"]) for row in rows if "accuracy/sure" in row]
    told = [(event.epoch, event.metrics["accuracy/sure"]) for event in scene.told() if isinstance(event, Validated)]
    return told == written and [epoch for epoch, _ in told] == [1, 2]


def _mmengine_checkpoints(scene: Scene) -> bool:
    stored = _stored(scene.told())
    left = {name: list((scene.folder / "out").glob(f"{name}*.pth")) for name in ("epoch_", "best_")}
    return (
        stored.keys() == {"last", "best"}
        and _is_stored_as_left(stored["last"], left["epoch_"][0])
        and _is_stored_as_left(stored["best"], left["best_"][0])
    )


# Lightning


def _lightning_epochs(scene: Scene) -> bool:
    return bool(_epochs_of(scene.told(), {"train_loss", "val_sure", "lr/pg0"}))


def _lightning_validations(scene: Scene) -> bool:
    told = [event for event in scene.told() if isinstance(event, Validated)]
    return [event.epoch for event in told] == [1, 2] and all(event.metrics.keys() == {"val_sure"} for event in told)


def _lightning_checkpoints(scene: Scene) -> bool:
    stored, left = _stored(scene.told()), scene.folder / "out"
    (best,) = left.glob("epoch=*.ckpt")
    return (
        stored.keys() == {"last", "best"}
        and _is_stored_as_left(stored["last"], left / "last.ckpt")
        and _is_stored_as_left(stored["best"], best)
    )


# Hugging Face's transformers


def _transformers_epochs(scene: Scene) -> bool:
    written = _logged(scene, "loss")
    told = [event.metrics for event in _epochs_of(scene.told(), {"loss", "learning_rate"})]
    return bool(told) and told == written


def _transformers_validations(scene: Scene) -> bool:
    told = [event for event in scene.told() if isinstance(event, Validated)]
    return [event.epoch for event in told] == [1, 2] and [event.metrics for event in told] == _logged(
        scene, "eval_loss"
    )


def _logged(scene: Scene, name: str) -> list[dict[str, float]]:
    """What the host's last checkpoint says that it has logged with this metric among it."""
    last = max((scene.folder / "out").glob("checkpoint-*"), key=lambda path: int(path.name.partition("-")[2]))
    entries = json.loads((last / "trainer_state.json").read_bytes())["log_history"]
    return [
        {key: value for key, value in entry.items() if key not in ("epoch", "step")}
        for entry in entries
        if name in entry
    ]


def _transformers_checkpoints(scene: Scene) -> bool:
    stored = _stored(scene.told())
    return stored.keys() == {"last", "best"} and all(_is_packed_as_left(scene, one) for one in stored.values())


def _is_packed_as_left(scene: Scene, stored: CheckpointStored) -> bool:
    """Whether the archive has what one of the host's folders has, byte for byte."""
    with tarfile.open(stored.uri.removeprefix("file://")) as archive:
        files = {member.name: archive.extractfile(member) for member in archive if member.isfile()}
        packed = {name: file.read() for name, file in files.items() if file is not None}
    folders = (scene.folder / "out").glob("checkpoint-*")
    return packed in [
        {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in folders
    ]


HOSTS = {
    host.name: host
    for host in (
        Host(
            name="ultralytics",
            title="Ultralytics",
            package="ultralytics",
            # Denser where the host has changed; the newest is asked of pip.
            versions=[
                *("8.0.100", "8.0.150", "8.0.196", "8.1.0", "8.2.0", "8.2.50", "8.2.103"),
                *("8.3.0", "8.3.50", "8.3.100", "8.3.150", "8.3.200", "8.3.220", "8.3.253"),
                *("8.4.0", "8.4.25", "8.4.50", "8.4.60", "8.4.80", "8.4.110", "8.4.130", "8.4.140", "8.4.170"),
            ],
            explained={
                "epochs right": "each epoch is told exactly once and in order, every value as in the host's "
                "`results.csv`, and the run has completed.",
                "final validation": "the host's extra announcement after the last epoch is told as that, and not as "
                "an epoch.",
                "checkpoints": "`last` and `best` are in storage, and the stored `best` is byte for byte the file that "
                "the host has left, stripped and final.",
                "failure seen": "a missing dataset has ended the run as failed.",
            },
            helps=_ultralytics_helps,
            environment=_ultralytics_environment,
            succeeding=("--autolog",),
            judged={
                "epochs right": _ultralytics_epochs,
                "final validation": _ultralytics_validations,
                "checkpoints": _ultralytics_checkpoints,
                "failure seen": Scene.has_failed,
            },
            others={"failure seen": ("--autolog", "--data", "missing.yaml")},
            # What older versions import and today's has no use for.
            old_libraries=(
                "hub-sdk",
                "pandas<3",
                "py-cpuinfo",
                "pytz",
                "scipy",
                "seaborn",
                "setuptools<81",
                "tqdm",
                "tzdata",
            ),
        ),
        Host(
            name="mmengine",
            title="MMEngine",
            package="mmengine",
            versions=[
                "0.7.4",
                "0.8.0",
                "0.8.5",
                "0.9.1",
                *(f"0.10.{patch}" for patch in range(8)),
                "onedl-mmengine==0.10.12",
            ],
            explained={
                "epochs right": "each epoch is told exactly once and in order, its losses by name adding up, and the "
                "run has completed.",
                "validations right": "each is told with the host's own epoch and value, as its `scalars.json` has "
                "them.",
                "checkpoints": "`last` and `best` are in storage, byte for byte the files that the host has left.",
                "by the hook": "the same, told by an entry in `custom_hooks` alone.",
                "failure seen": "an exception of the user's has ended the run as failed, told by the hook alone.",
            },
            helps=lambda _: (Help(), Help(numpy1=True)),
            environment=lambda _: {},
            succeeding=("--autolog",),
            judged={
                "epochs right": _mmengine_epochs,
                "validations right": _mmengine_validations,
                "checkpoints": _mmengine_checkpoints,
                "by the hook": lambda scene: _mmengine_epochs(scene) and _mmengine_checkpoints(scene),
                "failure seen": Scene.has_failed,
            },
            others={
                "by the hook": ("--hook",),
                "failure seen": ("--hook", "--do", "raise", "--at", "before_train_iter", "--epoch", "2"),
            },
            old_libraries=("setuptools<81",),
        ),
        Host(
            name="lightning",
            title="Lightning",
            package="lightning",
            versions=["2.2.0", "2.2.5", "2.3.3", "2.4.0", "2.5.0", "2.5.5", "2.6.0"],
            explained={
                "epochs right": "each epoch is told exactly once and in order, with its loss, its validation and its "
                "learning rate, and the run has completed.",
                "validations right": "each is told once, with its epoch; the check before the training is none.",
                "checkpoints": "`last` and `best` are in storage, byte for byte the files that the host has left.",
                "failure seen": "an exception of the user's has ended the run as failed.",
            },
            helps=lambda _: (Help(),),
            environment=lambda _: {},
            succeeding=("--autolog",),
            judged={
                "epochs right": _lightning_epochs,
                "validations right": _lightning_validations,
                "checkpoints": _lightning_checkpoints,
                "failure seen": Scene.has_failed,
            },
            others={"failure seen": ("--autolog", "--do", "raise", "--at", "on_train_batch_start", "--epoch", "2")},
            old_libraries=("setuptools<81",),  # before 2.4 it imports pkg_resources
        ),
        Host(
            name="transformers",
            title="Hugging Face transformers",
            package="transformers",
            versions=[
                *("4.46.3", "4.47.1", "4.48.3", "4.49.0", "4.50.3", "4.51.3", "4.52.4", "4.53.3", "4.55.4", "4.57.6"),
                *("5.0.0", "5.5.4", "5.10.4", "5.15.1", "5.20.2"),
            ],
            explained={
                "epochs right": "each epoch is told exactly once and in order, every value as in the host's "
                "`trainer_state.json`, and the run has completed.",
                "validations right": "the same, with the epoch of each.",
                "checkpoints": "`last` and `best` are in storage, each with every file of the host's folder, byte for "
                "byte.",
                "failure seen": "an exception of the user's has ended the run as failed.",
            },
            helps=lambda _: (Help(),),
            environment=lambda _: {},
            succeeding=("--autolog",),
            judged={
                "epochs right": _transformers_epochs,
                "validations right": _transformers_validations,
                "checkpoints": _transformers_checkpoints,
                "failure seen": Scene.has_failed,
            },
            others={"failure seen": ("--autolog", "--do", "raise", "--at", "on_step_end", "--epoch", "2")},
            old_libraries=("datasets<4",),  # later ones want a newer hub than older versions do
            own_libraries=("huggingface-hub", "safetensors", "tokenizers"),
        ),
    )
}

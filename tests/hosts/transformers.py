"""The Hugging Face host: a real Trainer on a tiny BERT, deterministic, in this process or as a script of its own.

As a script: python -m tests.hosts.transformers FOLDER EPOCHS [--autolog] [--do WHAT --at EVENT --epoch N]
"""

from __future__ import annotations

import contextlib
import math
import re
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import BertConfig, BertForSequenceClassification, Seq2SeqTrainer, Trainer, TrainingArguments
from transformers.trainer_callback import CallbackHandler, TrainerCallback, TrainerControl, TrainerState

from tests.hosts import hosting
from tests.hosts.hosting import Trained, digest
from trainer_hooks.folders import pack

name = "transformers"
# Where a training can be made to fail or be killed: the host's own events.
PHASES = ("on_train_begin", "on_epoch_begin", "on_epoch_end", "on_evaluate", "on_save")
EVERYWHERE = (
    *PHASES,
    "on_step_begin",
    "on_optimizer_step",
    "on_step_end",
    "on_log",
    "on_prediction_step",
    "on_train_end",
)
CTRL_C = KeyboardInterrupt
EXIT_STATUS: dict[str, int] = {}
AFTER_EPOCH = "on_evaluate"  # its losses are logged by then
SUFFIX = ".tar"
WRITES = "checkpoint-*"
FINAL_BEST = False
EPOCH_METRICS = {"loss", "grad_norm", "learning_rate"}
SENTENCES, WORDS, LENGTH = 16, 1000, 12


class Sentences(torch.utils.data.Dataset):
    """Random words, and one in each sentence that tells its class."""

    def __init__(self, length: int = SENTENCES, broken: int | None = None) -> None:
        """`broken`: the sample that can't be read."""
        source = torch.Generator().manual_seed(3)
        self._broken = broken
        self._labels = torch.arange(length) % 2
        self._words = torch.randint(10, WORDS, (length, LENGTH), generator=source)
        self._words[:, 3] = 1 + self._labels

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, place: int) -> dict[str, Any]:
        if place == self._broken:
            message = f"sample {place} can't be read"
            raise OSError(message)
        return {"input_ids": self._words[place], "labels": self._labels[place]}


def model() -> BertForSequenceClassification:
    """With dropout: any random number of ours would change the weights."""
    torch.manual_seed(5)
    config = BertConfig(
        vocab_size=WORDS,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=LENGTH,
        id2label={0: "left", 1: "right"},
    )
    return BertForSequenceClassification(config)


def measure(found: Any) -> dict[str, float]:
    """The share of sentences that are told right, and how surely."""
    sure = torch.tensor(found.predictions).softmax(1)[torch.arange(len(found.label_ids)), torch.tensor(found.label_ids)]
    return {"accuracy": (sure > 0.5).double().mean().item(), "sure": sure.double().mean().item()}


def arguments(folder: Path, epochs: int = 2, **more: Any) -> TrainingArguments:
    """Those of the training; each can be replaced."""
    own = {
        "output_dir": str(folder / "out"),
        "num_train_epochs": epochs,
        "per_device_train_batch_size": 4,
        "per_device_eval_batch_size": 8,
        "learning_rate": 0.01,
        "logging_strategy": "epoch",
        "eval_strategy": "epoch",
        "save_strategy": "epoch",
        "save_total_limit": 1,
        "metric_for_best_model": "sure",
        "greater_is_better": True,
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
        "seed": 7,
    }
    return TrainingArguments(**{**own, **more})


def built(folder: Path, epochs: int = 2, *, kind: type[Trainer] = Trainer, parts: Any = None, **more: Any) -> Trainer:
    """A trainer; `parts` are its own arguments, `more` those of the training."""
    own = {"model": model(), "train_dataset": Sentences(), "eval_dataset": Sentences(8), "compute_metrics": measure}
    return kind(args=arguments(folder, epochs, **more), **{**own, **(parts or {})})


def calling(do: Callable[[Any], Any], at: Sequence[str], epoch: int = 1) -> TrainerCallback:
    """A callback of the user's that calls `do` at these events, from the epoch (counted from 1) on."""

    def call(_: TrainerCallback, __: Any, state: Any, control: Any, **___: Any) -> None:
        if (math.ceil(state.epoch or 0) or 1) >= epoch:
            do(control)

    def call_before(_: TrainerCallback, __: Any, state: Any, control: Any, **___: Any) -> None:
        if int(state.epoch or 0) + 1 >= epoch:
            do(control)

    # The host counts up in fractions with each step.
    methods = {event: call_before if event in ("on_epoch_begin", "on_step_begin") else call for event in at}
    return type("Calls", (TrainerCallback,), methods)()


def train(
    folder: Path,
    epochs: int = 2,
    *,
    at: Sequence[str] = (),
    epoch: int = 1,
    do: Callable[[], Any] | None = None,
    **more: Any,
) -> Trained:
    """Train; at these events, from the epoch on, call `do` from a callback of the user's."""
    try:
        trainer = built(folder, epochs, **more)
        if do:
            # What is before the first epoch and after the last knows of no other.
            steady = [event for event in at if event in ("on_train_begin", "on_train_end")]
            trainer.add_callback(calling(lambda _: do(), steady))
            trainer.add_callback(calling(lambda _: do(), [event for event in at if event not in steady], epoch))
        trainer.train()
    except BaseException as error:  # noqa: BLE001 - what it raises is what is asked
        return Trained(None, error)
    return Trained(digest(trainer.model))


def fingerprint() -> list[Any]:
    """The identities of the host's objects that an integration could have replaced."""
    owners = (
        Trainer,
        Seq2SeqTrainer,
        TrainingArguments,
        CallbackHandler,
        TrainerCallback,
        TrainerControl,
        TrainerState,
    )
    return [(owner.__name__, key, id(value)) for owner in owners for key, value in sorted(vars(owner).items())]


@contextlib.contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """The folder in one of our archives; or a folder as it is."""
    if path.is_dir():
        yield path
        return
    with tempfile.TemporaryDirectory() as folder, tarfile.open(path) as archive:
        archive.extractall(folder, filter="data")
        yield Path(folder)


def load_checkpoint(path: Path) -> None:
    """Load a checkpoint of this host; raises if it isn't whole."""
    with unpacked(path) as folder:
        assert "classifier.weight" in load_file(folder / "model.safetensors")
        assert TrainerState.load_from_json(str(folder / "trainer_state.json")).global_step
        for part in ("optimizer.pt", "scheduler.pt"):
            torch.load(folder / part, weights_only=True)
        torch.load(folder / "rng_state.pth", weights_only=False)  # the generator's state; written a moment ago


def best_checkpoint(folder: Path) -> Path:
    """What a training in `folder` has left as its best, as the one file that it is stored as."""
    last = max((folder / "out").glob(WRITES), key=lambda path: int(path.name.rpartition("-")[2]))
    best = Path(str(TrainerState.load_from_json(str(last / "trainer_state.json")).best_model_checkpoint))
    packed = folder / f"{best.name}.tar"
    pack(best, packed)
    return packed


def steady(line: str) -> str | None:
    """The line of output without durations and rates."""
    return re.sub(r"'(\w+_(?:runtime|per_second))': '[^']*'", r"'\1': SOME", line)


if __name__ == "__main__":
    hosting.main(name, train, lambda _: None)

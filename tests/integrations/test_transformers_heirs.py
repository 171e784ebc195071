"""What inherits from Hugging Face's Trainer, and what trains by it: TRL, sentence-transformers, a search by Optuna."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast, Trainer, TrainerCallback
from trl import DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer

import trainer_hooks
from tests.hosts import transformers as host
from trainer_hooks.actions import BaseTrainAction, BaseTrainParams, run_action
from trainer_hooks.events import CheckpointSaved, EpochEnded, RunCompleted, RunInterrupted, RunStarted, Validated
from trainer_hooks.history import RunHistory, list_runs, read_history
from trainer_hooks.journal import read_records

pytestmark = [
    pytest.mark.framework,
    pytest.mark.filterwarnings("ignore:.* is deprecated and will be removed in v6:FutureWarning"),  # TRL's calls
]

WORDS = ("<pad>", "<eos>", "the", "cat", "dog", "sat", "ran", "far")
GROUP = 4
"""How many answers to one prompt are compared."""


@pytest.fixture(autouse=True)
def attached() -> Iterator[None]:
    with trainer_hooks.autolog("transformers", delivery="none"):
        yield


def histories(folder: Path) -> list[RunHistory]:
    """All runs, the oldest first."""
    found = [read_history(run) for run in list_runs(folder / "trainer_runs")]
    return sorted(found, key=lambda history: history.attempts[0].began)


def told(folder: Path, kind: type) -> list[Any]:
    """The events of that kind of the only run."""
    (run,) = list_runs(folder / "trainer_runs")
    return [record.event for record in read_records(run) if isinstance(record.event, kind)]


def logged(trainer: Trainer, name: str) -> list[dict[str, Any]]:
    """What the host has logged with this metric among it, by epoch."""
    found = [entry for entry in trainer.state.log_history if name in entry]
    return [{key: value for key, value in entry.items() if key not in ("epoch", "step")} for entry in found]


def tokenizer() -> PreTrainedTokenizerFast:
    """One token a word."""
    inner = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<pad>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="<eos>")


def language_model() -> GPT2LMHeadModel:
    torch.manual_seed(0)
    config = {"n_positions": 32, "n_embd": 16, "n_layer": 1, "n_head": 2, "bos_token_id": 1, "eos_token_id": 1}
    return GPT2LMHeadModel(GPT2Config(vocab_size=len(WORDS), pad_token_id=0, **config))


def options(folder: Path) -> dict[str, Any]:
    """Of the training's arguments."""
    return {
        "output_dir": str(folder / "out"),
        "num_train_epochs": 2,
        "per_device_train_batch_size": GROUP,
        "per_device_eval_batch_size": GROUP,
        "logging_strategy": "epoch",
        "eval_strategy": "epoch",
        "save_strategy": "epoch",
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
    }


def of_trl(name: str, folder: Path) -> Trainer:
    """A trainer of TRL's, on eight examples."""
    own: dict[str, Any] = {"bf16": False, **options(folder)}
    parts: dict[str, Any] = {"model": language_model(), "processing_class": tokenizer()}
    pairs = {"prompt": ["the cat"] * 8, "chosen": [" sat"] * 8, "rejected": [" ran far"] * 8}
    if name == "SFT":
        data = Dataset.from_dict({"text": ["the cat sat"] * 8})
        return SFTTrainer(args=SFTConfig(max_length=16, **own), train_dataset=data, eval_dataset=data, **parts)
    if name == "DPO":
        data, parts = Dataset.from_dict(pairs), {"ref_model": language_model(), **parts}
        return DPOTrainer(args=DPOConfig(max_length=16, **own), train_dataset=data, eval_dataset=data, **parts)
    data, own = Dataset.from_dict({"prompt": pairs["prompt"]}), {"num_generations": GROUP, **own}
    args = GRPOConfig(max_completion_length=6, **own)
    return GRPOTrainer(args=args, reward_funcs=_length, train_dataset=data, eval_dataset=data, **parts)


def _length(completions: list[str], **_: Any) -> list[float]:
    return [float(len(completion)) for completion in completions]


@pytest.mark.parametrize("name", ["SFT", "DPO", "GRPO"])
def test_a_trainer_of_trls(name: str, tmp_path: Path) -> None:
    trainer = of_trl(name, tmp_path)
    trainer.train()
    (started,) = told(tmp_path, RunStarted)
    assert (started.framework, started.model, started.total_epochs) == ("transformers", "GPT2LMHeadModel", 2)
    assert "trl" in started.versions
    assert [event.metrics for event in told(tmp_path, EpochEnded)] == logged(trainer, "loss")
    assert [event.metrics for event in told(tmp_path, Validated)] == logged(trainer, "eval_loss")
    assert [event.epoch for event in told(tmp_path, CheckpointSaved)] == [1, 2]
    assert len(told(tmp_path, RunCompleted)) == 1


def test_the_trainer_of_sentence_transformers(tmp_path: Path) -> None:
    host.model().base_model.save_pretrained(tmp_path / "model")
    tokenizer().save_pretrained(tmp_path / "model")
    pairs = {"sentence1": ["the cat", "the dog"] * 4, "sentence2": ["cat sat", "cat far"] * 4, "score": [1.0, 0.0] * 4}
    data = Dataset.from_dict(pairs)
    args = SentenceTransformerTrainingArguments(**options(tmp_path))
    model = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    trainer = SentenceTransformerTrainer(model, args, train_dataset=data, eval_dataset=data)
    trainer.train()
    assert [event.metrics for event in told(tmp_path, EpochEnded)] == logged(trainer, "loss")
    assert [event.epoch for event in told(tmp_path, Validated)] == [1, 2]
    assert [event.epoch for event in told(tmp_path, CheckpointSaved)] == [1, 2]
    assert len(told(tmp_path, RunCompleted)) == 1


RATES = [0.01, 0.02, 0.03]


def search(folder: Path) -> Any:
    """For the best learning rate: one trial each, of which all but the first are pruned; returns the best one."""
    trainer = host.built(folder, 2, parts={"model": None, "model_init": lambda _: host.model()})
    return trainer.hyperparameter_search(
        lambda trial: {"learning_rate": trial.suggest_categorical("learning_rate", RATES)},
        compute_objective=lambda metrics: metrics["eval_sure"],
        n_trials=3,
        direction="maximize",
        backend="optuna",
        sampler=optuna.samplers.GridSampler({"learning_rate": RATES}),
        pruner=_AllButTheFirst(),
    )


class _AllButTheFirst(optuna.pruners.BasePruner):
    def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:  # noqa: ARG002 - its interface
        return trial.number > 0


class TestSearches:
    def test_each_trial_is_a_run_and_one_that_is_pruned_has_not_failed(self, tmp_path: Path) -> None:
        search(tmp_path)
        first, *others = histories(tmp_path)
        assert first.latest.status == "completed"
        assert sorted(history.latest.state.started.params["learning_rate"] for history in (first, *others)) == RATES
        for history in others:
            assert (history.latest.status, history.latest.state.epoch) == ("interrupted", 1)
        reasons = [record.event for history in others for record in read_records(history.directory)]
        assert [event.reason for event in reasons if isinstance(event, RunInterrupted)] == ["pruned by the search"] * 2

    def test_in_an_action_all_of_it_is_the_actions_run(self, tmp_path: Path) -> None:
        class Search(BaseTrainAction[BaseTrainParams]):
            def execute(self) -> dict[str, Any]:
                return {"rate": search(tmp_path).hyperparameters["learning_rate"]}

        assert run_action(Search, {}, delivery="none")["rate"] in RATES
        (completed,) = told(tmp_path, RunCompleted)
        assert completed.result["rate"] in RATES
        assert [event.epoch for event in told(tmp_path, EpochEnded)] == [1, 2, 1, 1]

    def test_one_in_a_loop_of_ones_own_hasnt_either(self, tmp_path: Path) -> None:
        with pytest.raises(optuna.TrialPruned), trainer_hooks.start_run(delivery="none"):
            raise optuna.TrialPruned
        (interrupted,) = told(tmp_path, RunInterrupted)
        assert interrupted.reason == "pruned by the search"


def test_a_training_that_begins_anew_with_smaller_batches_is_the_same_run(tmp_path: Path) -> None:
    class Card(TrainerCallback):
        """Has memory for batches of four."""

        def on_step_begin(self, _: Any, state: Any, *__: Any, **___: Any) -> None:
            if trainer._train_batch_size > 4 and state.global_step == 1:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    trainer = host.built(tmp_path, 2, auto_find_batch_size=True, per_device_train_batch_size=8)
    trainer.add_callback(Card())
    trainer.train()
    assert trainer._train_batch_size <= 4
    assert [event.metrics for event in told(tmp_path, EpochEnded)] == logged(trainer, "loss")
    (completed,) = told(tmp_path, RunCompleted)
    assert completed.epochs == 2

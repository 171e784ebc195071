"""A real training as an action, that says nothing of `autolog`."""

from __future__ import annotations

from typing import Any

from trainer_hooks.actions import BaseTrainAction, BaseTrainParams


class Params(BaseTrainParams):
    model: str
    options: dict[str, Any]


class Train(BaseTrainAction[Params]):
    action_name = "train"

    def execute(self) -> dict[str, Any]:
        from ultralytics import YOLO

        model = YOLO(self.params.model)
        model.train(**self.params.options)
        return {"epochs": model.trainer.epoch + 1}

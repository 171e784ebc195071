"""The same training as steps: each is told with its duration, skipped where an earlier attempt has done it.

trainer-hooks action run train_steps:MyTrainAction --params '{"dataset_id": 1, "epochs": 3}'
"""

from pydantic import BaseModel

from trainer_hooks.actions import BaseStep, BaseTrainAction, StepRegistry, StepResult, TrainContext


class TrainParams(BaseModel):
    dataset_id: int
    epochs: int = 100


class LoadDatasetStep(BaseStep[TrainContext]):
    @property
    def name(self) -> str:
        return "load_dataset"

    @property
    def progress_weight(self) -> float:
        return 0.2

    def execute(self, ctx: TrainContext) -> StepResult:
        ctx.dataset = ctx.client.get_data_collection(ctx.params["dataset_id"])
        return StepResult(success=True)


class TrainStep(BaseStep[TrainContext]):
    @property
    def name(self) -> str:
        return "train"

    @property
    def progress_weight(self) -> float:
        return 0.6

    def execute(self, ctx: TrainContext) -> StepResult:
        from ultralytics import YOLO

        model = YOLO("yolov8n.pt")
        model.train(data=ctx.dataset["path"], epochs=ctx.params["epochs"])
        ctx.model_path = str(model.best)
        return StepResult(success=True)


class UploadModelStep(BaseStep[TrainContext]):
    @property
    def name(self) -> str:
        return "upload_model"

    @property
    def progress_weight(self) -> float:
        return 0.2

    def execute(self, ctx: TrainContext) -> StepResult:
        ctx.model = ctx.client.create_model({"file": ctx.model_path})
        return StepResult(success=True)


class MyTrainAction(BaseTrainAction[TrainParams]):
    action_name = "train"

    def setup_steps(self, registry: StepRegistry[TrainContext]) -> None:
        registry.register(LoadDatasetStep())
        registry.register(TrainStep())
        registry.register(UploadModelStep())

"""A training action in one method. Its three steps of progress are its own; its trainings are told by themselves.

trainer-hooks action run train_action:MyTrainAction --params '{"dataset_id": 1, "epochs": 3}'
"""

from pydantic import BaseModel

from trainer_hooks.actions import BaseTrainAction


class TrainParams(BaseModel):
    dataset_id: int
    epochs: int = 100


class MyTrainAction(BaseTrainAction[TrainParams]):
    action_name = "train"

    def execute(self) -> dict:
        self.autolog("ultralytics")

        # Load dataset
        dataset = self.get_dataset()
        self.set_progress(1, 3, self.progress.DATASET)

        # Train
        from ultralytics import YOLO

        model = YOLO("yolov8n.pt")
        model.train(data=dataset["path"], epochs=self.params.epochs)
        self.set_progress(2, 3, self.progress.TRAIN)

        # Upload
        result = self.create_model(str(model.best))
        self.set_progress(3, 3, self.progress.MODEL_UPLOAD)

        return {
            "model_id": result["id"],
            "weights_path": str(model.best),
        }

"""`BaseTrainAction`: what a platform's user writes to have a training started by it."""

from __future__ import annotations

import inspect
import os
import typing
from collections.abc import Mapping
from typing import Any, ClassVar, Generic

from pydantic import BaseModel

from trainer_hooks.actions.context import RuntimeContext
from trainer_hooks.actions.params import P
from trainer_hooks.actions.progress import TrainProgressCategories
from trainer_hooks.actions.steps.registry import StepRegistry
from trainer_hooks.actions.telling import Telling
from trainer_hooks.autologging import autolog
from trainer_hooks.errors import InvalidAction, NoDataset

_ANY_NUMBER = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class BaseTrainAction(Telling, Generic[P]):
    """A training action: subclass it as `BaseTrainAction[YourParams]`, YourParams being a pydantic model.

    Write `execute`, which returns the action's result as a dict, or `setup_steps`, which registers steps. Run it by
    `run_action`, or by `trainer-hooks action run module:Class`.
    """

    action_name: ClassVar[str] = "train"
    params_model: ClassVar[type[BaseModel] | None] = None
    """The type of the parameters; by default the one in the brackets."""
    progress: ClassVar[TrainProgressCategories] = TrainProgressCategories()

    def __init__(self, params: P, ctx: RuntimeContext) -> None:
        self.params = params
        self.ctx = ctx

    def execute(self) -> Mapping[str, Any] | None:
        """Do the work; returns the result, which must be JSON (see `results.plain_result`)."""
        raise NotImplementedError

    def setup_steps(self, registry: StepRegistry[Any]) -> None:
        """Register the steps, where the action consists of some; they are run instead of `execute`."""

    def autolog(self, framework: str) -> None:
        """Have this framework's trainings told as part of the action. Call it before the model is created.

        An action's trainings are told without it, too; with it, a framework that isn't known or not installed is an
        error at once.

        Raises:
            UnknownFramework, MissingPackage: with the mend in the message.
        """
        autolog(framework)

    def get_dataset(self) -> Any:
        """The data collection that `params.dataset_id` names; override it for other sources.

        Raises:
            NoDataset: if the parameters name none.
            BackendError: if the backend has no such collection, or can't be asked.
        """
        collection = getattr(self.params, "dataset_id", None)
        if collection is None:
            message = f"{type(self.params).__name__} has no dataset_id; give one, or override get_dataset"
            raise NoDataset(message)
        return self.client.get_data_collection(collection)

    def create_model(self, path: str | os.PathLike[str], **fields: Any) -> dict[str, Any]:
        """Upload a trained model, a file or a directory, whole and verified; returns what the backend says of it.

        `fields` are the backend's (name, description, …). The model that the parameters name as their checkpoint is
        its parent.

        Raises:
            BackendError: if it is not there whole; FileNotFoundError, if `path` isn't there.
        """
        parent = getattr(self.params, "checkpoint", None)
        request = {**({} if parent is None else {"checkpoint": parent}), **fields}
        model = self.client.create_model(request, file=path)
        self.log_message(f"model {model['id']} is created from {os.fspath(path)}")
        return model

    def get_checkpoint(self) -> dict[str, Any] | None:
        """What to begin with, or to go on from: path, category, id and name; None for nothing.

        With `resume="auto"`, the newest checkpoint of the run's earlier attempts, whose category is "resumed"; else the
        model that `params.checkpoint` names, verified, a .zip extracted into the folder that `path` then is.

        Raises:
            BackendError: if the backend has no such model, or it can't be had whole.
        """
        if self.ctx.checkpoint is not None:
            return self.ctx.checkpoint
        named = getattr(self.params, "checkpoint", None)
        return None if named is None else self.ctx.get_model(named)

    @property
    def _context(self) -> RuntimeContext:
        return self.ctx


def params_model_of(action: type[BaseTrainAction[Any]]) -> type[BaseModel]:
    """The type of an action's parameters.

    Raises:
        InvalidAction: if it names none.
    """
    if action.params_model is not None:
        return action.params_model
    found = _in_the_brackets(action)
    if isinstance(found, type) and issubclass(found, BaseModel):
        return found
    mend = f"write class {action.__name__}(BaseTrainAction[YourParams])"
    message = f"{action.__qualname__} doesn't say what its parameters are: {mend}"
    raise InvalidAction(message)


def _in_the_brackets(kind: type) -> Any:
    """What stands for BaseTrainAction's own variable; a variable of `kind`'s, perhaps, or None."""
    for base in vars(kind).get("__orig_bases__", kind.__bases__):
        origin = typing.get_origin(base) or base
        if not (isinstance(origin, type) and issubclass(origin, BaseTrainAction)):
            continue
        given = typing.get_args(base)
        found = P if origin is BaseTrainAction else _in_the_brackets(origin)
        if isinstance(found, typing.TypeVar) and given:
            found = given[getattr(origin, "__parameters__", ()).index(found)]
        if found is not None:
            return found
    return None


def check_action(action: Any, where: str) -> type[BaseTrainAction[Any]]:
    """The action, if it is one that can be run.

    Raises:
        InvalidAction: says what it lacks; `where` is how the user has named it.
    """
    if not (isinstance(action, type) and issubclass(action, BaseTrainAction)):
        message = f"{where} is {type(action).__name__}, not a subclass of BaseTrainAction"
        raise InvalidAction(message)
    if action.setup_steps is BaseTrainAction.setup_steps:
        _check_execute(action, where)
    params_model_of(action)
    return action


def _check_execute(action: type[BaseTrainAction[Any]], where: str) -> None:
    if action.execute is BaseTrainAction.execute:
        message = f"{where} has neither execute nor setup_steps; write one of them"
        raise InvalidAction(message)
    if not inspect.isfunction(action.execute):
        return
    # As it is called: what a decorator has wrapped may well take more.
    parameters = [*inspect.signature(action.execute, follow_wrapped=False).parameters.values()][1:]
    needed = [one.name for one in parameters if one.default is one.empty and one.kind not in _ANY_NUMBER]
    if needed:
        mend = "write execute(self), and ask self.get_dataset() and self.get_checkpoint()"
        message = f"{where}: execute wants {', '.join(needed)}, and is given nothing here; {mend}"
        raise InvalidAction(message)

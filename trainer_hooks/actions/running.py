"""Runs an action in this process, as one run: from its parameters to its result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from trainer_hooks.actions.action import BaseTrainAction, check_action, params_model_of
from trainer_hooks.actions.context import RuntimeContext
from trainer_hooks.actions.params import P, read_params
from trainer_hooks.actions.results import plain_result
from trainer_hooks.actions.steps.context import TrainContext
from trainer_hooks.actions.steps.memory import forget_steps
from trainer_hooks.actions.steps.orchestrator import Orchestrator
from trainer_hooks.actions.steps.registry import StepRegistry
from trainer_hooks.actions.tuning.params import check_space, own_params, read_search
from trainer_hooks.bootstrap import recorded
from trainer_hooks.errors import ActionStopped
from trainer_hooks.integrations import known_frameworks
from trainer_hooks.run import Run, load_settings, start_run


def run_action(action: type[BaseTrainAction[Any]], params: Mapping[str, Any], **settings: Any) -> dict[str, Any]:
    """Run the action; returns its result, as it is told.

    The action is one run: it starts before `execute` or the first step, and ends with its result, or with what it
    raised. Trainings in it are told as part of it, whichever framework does them. `settings` are options by their names
    in `trainer_hooks.settings.Settings`. Where `is_tune` is true in `params`, it is a search over hyper-parameters.

    Raises:
        InvalidAction, InvalidParams, InvalidSetting, MissingPackage, CannotResume: before anything has started.
        Exception: whatever the action raises; a step's comes as the cause of a StepError.
    """
    return do_action(action, params, settings, lambda _: None)


def do_action(
    action: type[BaseTrainAction[Any]],
    params: Mapping[str, Any],
    settings: Mapping[str, Any],
    opened: Callable[[Run], object],
) -> dict[str, Any]:
    """`run_action`, for one who wants to know the run, too: `opened` is told it before the work begins."""
    check_action(action, action.__qualname__)
    model = params_model_of(action)
    search = read_search(params)
    own = own_params(params, model, search)
    if search is not None:
        from trainer_hooks.actions.tuning.search import run_search

        check_space(model, own, search)
        return run_search(action, own, search, settings, opened)
    return do_known(action, read_params(model, own), settings, opened)


def do_known(
    action: type[BaseTrainAction[P]],
    known: P,
    settings: Mapping[str, Any],
    opened: Callable[[Run], object],
    parent: str | None = None,
) -> dict[str, Any]:
    """`do_action`, with parameters that have been read; `parent` is the id of the run that this one is a part of."""
    details: dict[str, Any] = {"params": known.model_dump(), "action": action.action_name, "parent": parent}
    with recorded(known_frameworks()), start_run(takes_in_trainings=True, **details, **settings) as run:
        opened(run)
        context = RuntimeContext(run, load_settings(**settings))
        try:
            with run.heard_by_children():
                result = plain_result(_work(action(known, context), context))
        except (ActionStopped, SystemExit) as error:
            _stop(run, error)
            raise
        run.complete(result=result)
        forget_steps(run)
    return result


def _stop(run: Run, error: ActionStopped | SystemExit) -> None:
    """End the run without a result, which even an exit with status 0 can't stand for."""
    if isinstance(error, ActionStopped):
        run.interrupt(str(error))
    else:
        run.end_with(error)


def _work(action: BaseTrainAction[Any], context: RuntimeContext) -> Any:
    registry: StepRegistry[TrainContext] = StepRegistry()
    action.setup_steps(registry)
    if not registry:
        return action.execute()
    steps = TrainContext(runtime_ctx=context, params=action.params.model_dump())
    done = Orchestrator(registry, steps).execute()
    has_id = isinstance(steps.model, Mapping) and "id" in steps.model
    return {**done, **({"model_id": steps.model["id"]} if has_id and steps.model else {})}

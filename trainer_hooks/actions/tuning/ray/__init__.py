"""The search itself, by Ray Tune. The one package of searches that knows Ray."""

from __future__ import annotations

from trainer_hooks.actions.tuning.order import Order
from trainer_hooks.actions.tuning.params import TuneParams
from trainer_hooks.errors import MissingPackage
from trainer_hooks.settings import ray_tune_as_a_part

try:
    from ray import tune
except ImportError as error:
    _missing = 'a search over hyper-parameters needs Ray Tune: pip install "trainer-hooks[ray]"'
    raise MissingPackage(_missing) from error

from trainer_hooks.actions.tuning.ray.actor import OBJECTIVE, Trial
from trainer_hooks.actions.tuning.ray.choices import algorithm, is_basic, scheduler, space, try_out
from trainer_hooks.actions.tuning.ray.cluster import cluster, quiet, resources
from trainer_hooks.actions.tuning.ray.names import Names
from trainer_hooks.actions.tuning.ray.watch import PATIENCE, Listener, NothingLeft, SearchStopped, Watch

__all__ = ["SearchStopped", "check", "fit"]


def check(search: TuneParams, last_epoch: int | None) -> None:
    """Check that Ray can make the search; `last_epoch` as for `fit`.

    Raises:
        MissingPackage: if it needs a package that is not installed.
        InvalidParams: if a space, an algorithm or a scheduler can't be had as it is asked for.
    """
    config = search.tune_config
    try_out("tune_config.search_alg", algorithm(config, 0, []), config.mode, space(search))
    try_out("tune_config.scheduler", scheduler(config, last_epoch), config.mode)


def fit(search: TuneParams, order: Order, listener: Listener, *, seed: int, last_epoch: int | None) -> None:
    """Make the search; returns when all its trials are over or stopped.

    `last_epoch` is how many epochs a trial has at most, None where nothing says so.
    With the same seed, the same is tried in the same order, where no algorithm learns from what comes first.

    Raises:
        ActionError: if there are no resources for a trial.
        SearchStopped: if the listener wants it to stop.
    """
    config = search.tune_config
    with ray_tune_as_a_part(), quiet(), cluster() as is_own:
        asked = resources(search, is_own=is_own)
        watch = Watch(listener, asked, PATIENCE)
        tuner = tune.Tuner(
            tune.with_resources(tune.with_parameters(Trial, order=order), asked),
            param_space=space(search),
            tune_config=tune.TuneConfig(
                metric=OBJECTIVE,
                mode=config.mode,
                num_samples=config.num_samples,
                search_alg=algorithm(config, seed, listener.numbers.before),
                scheduler=scheduler(config, last_epoch),
                max_concurrent_trials=None if is_basic(config) else config.max_concurrent_trials,
                trial_name_creator=Names(listener.numbers),
                trial_dirname_creator=str,
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=order.folder,
                callbacks=[watch],
                # Only where a trial is paused: else none could be told from one that is stopped.
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                verbose=0,
            ),
        )
        try:
            tuner.fit()
        except KeyboardInterrupt:
            listener.leaves()
            raise
        except Exception as error:
            if not isinstance(watch.reason, NothingLeft):
                raise watch.reason or error from error

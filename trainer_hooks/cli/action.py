"""`trainer-hooks action`: run an action here, in a process of its own, or on Ray; list a plugin's."""

from __future__ import annotations

import contextlib
import signal
import sys
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from trainer_hooks.cli.dataset_options import encoded, json_option, telling
from trainer_hooks.cli.tables import print_table
from trainer_hooks.errors import ActionError, InvalidSetting, RefusedElsewhere, RemoteFailure

_ENDING = (signal.SIGTERM, signal.SIGHUP)
_OF_RAY = ("address", "num_cpus", "num_gpus", "memory")
_folder_option = click.option(
    "--folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=Path(),
    help="Where the modules of the action are, and the plugin's config.yaml; by default the working directory.",
)


@click.group()
@click.pass_context
def action(context: click.Context) -> None:
    """Run actions, here, in a process or on Ray.

    Exit status: 0 done, 1 the action has failed, was stopped or is lost, 2 the call or the set-up is wrong.
    """
    context.with_resource(telling())


@action.command()
@click.argument("named", metavar="[ENTRYPOINT|NAME]", required=False)
@_folder_option
@click.option("--params", "given", metavar="FILE|-|JSON", help="Its parameters: a JSON object, in a file or as it is.")
@click.option("--set", "changes", metavar="NAME=VALUE", multiple=True, help="A parameter in place of that; repeatable.")
@click.option("--executor", type=click.Choice(["local", "process", "ray"]), default="process", show_default=True)
@click.option("--address", help="Of a Ray cluster; by default RAY_ADDRESS, else one is started on this machine.")
@click.option("--num-cpus", type=click.FloatRange(min=0), help="Cores that Ray is to find for the action.")
@click.option("--num-gpus", type=click.FloatRange(min=0), help="GPUs that Ray is to find for it.")
@click.option("--memory", type=click.IntRange(min=0), help="Bytes of memory that Ray is to find for it.")
@click.option("--retries", type=click.IntRange(min=0), default=0, show_default=True, help="Where its process is gone.")
@click.option("--timeout", type=click.FloatRange(min=0), help="Seconds after which it is stopped.")
@click.option("--run-id", help="The run's name; the same name again is its next attempt.")
@click.option("--detach", is_flag=True, help="Don't wait for it; prints by what it can be found.")
def run(**asked: Any) -> None:
    """Run one action; prints its result as JSON, and on stderr what it writes.

    ENTRYPOINT is module:Class, NAME one of the actions in config.yaml; by default SYNAPSE_ACTION_ENTRYPOINT. What else
    stands in config.yaml counts for a NAME only. Parameters are by default those of SYNAPSE_ACTION_PARAMS or
    SYNAPSE_ACTION_PARAMS_FILE.

    Ctrl-C, SIGTERM or SIGHUP stops the action, wherever it runs. With --retries, one that has ended without a word, as
    when its machine went down, is done again, as the next attempt of the same run.
    """
    from trainer_hooks.actions import executors

    work = _Work(asked)
    with contextlib.closing(_executor(work, asked)) as executor, contextlib.redirect_stdout(sys.stderr):
        try:
            told = _detached(executor, work) if asked["detach"] else _result(executors, executor, work, asked)
        except RefusedElsewhere:  # what its process writes is here already
            sys.exit(2)
        except ActionError as error:
            if not isinstance(error, RemoteFailure):  # of an action in this process
                traceback.print_exc()
            click.echo(f"trainer-hooks action: {error}", err=True)
            sys.exit(1)
    click.echo(encoded(told))


@action.command("list")
@_folder_option
@json_option
def list_actions(*, folder: Path, as_json: bool) -> None:
    """List the actions in a plugin's config.yaml."""
    from trainer_hooks.actions.plugin import FILE, read_plugin

    plugin = read_plugin(folder)
    if plugin is None:
        message = f"there is no {FILE} with actions in {folder.absolute()}; name another folder with --folder"
        raise InvalidSetting(message)
    if as_json:
        click.echo(encoded({name: known.model_dump(exclude_none=True) for name, known in plugin.actions.items()}))
        return
    rows = [(name, known.method, known.entrypoint, known.description) for name, known in plugin.actions.items()]
    print_table(("action", "method", "entrypoint", "description"), rows)


class _Work:
    """What is to be done, as the command line and the plugin say."""

    def __init__(self, asked: Mapping[str, Any]) -> None:
        from trainer_hooks.actions.calling import changed, wanted_entrypoint
        from trainer_hooks.actions.plugin import Resources

        self.folder: Path = asked["folder"].absolute()
        self.entrypoint = wanted_entrypoint(asked["named"])
        self.plugin = _plugin_with(self.entrypoint, self.folder)
        resources = Resources()
        if self.plugin is not None:
            known = self.plugin.action(self.entrypoint, self.folder / "config.yaml")
            self.entrypoint, resources = known.entrypoint, known.resources
        given = {name: asked[name] for name in Resources.model_fields if asked[name] is not None}
        self.resources = resources.model_copy(update=given)
        self.params = changed(_params(asked["given"]), asked["changes"])
        self.settings = {"run_id": asked["run_id"]} if asked["run_id"] else {}

    @property
    def variables(self) -> dict[str, str]:
        return self.plugin.variables() if self.plugin else {}

    @property
    def cluster_environment(self) -> dict[str, Any]:
        return self.plugin.cluster_environment(self.folder) if self.plugin else {}


def _plugin_with(name: str, folder: Path) -> Any:
    """The plugin that has the action of that name, or should have it; None where the name is an entry point."""
    from trainer_hooks.actions.plugin import Plugin, read_plugin

    if ":" in name:
        return None
    plugin = read_plugin(folder) or Plugin()
    return None if "." in name and name not in plugin.actions else plugin


def _params(given: str | None) -> dict[str, Any]:
    from trainer_hooks.actions.calling import params_of, wanted_params

    if given is not None and given.lstrip().startswith("{"):
        return params_of(given, "--params")
    return wanted_params(given)


def _executor(work: _Work, asked: Mapping[str, Any]) -> Any:
    named = asked["executor"]
    misplaced = [f"--{name.replace('_', '-')}" for name in _OF_RAY if asked[name] is not None and named != "ray"]
    if misplaced:
        message = f"{', '.join(misplaced)} is for --executor ray"
        raise click.UsageError(message)
    if named == "local":
        from trainer_hooks.actions.executors.local import LocalExecutor

        return LocalExecutor(work.variables)
    if named == "process":
        from trainer_hooks.actions.executors.process import ProcessExecutor

        return ProcessExecutor(None if asked["detach"] else sys.stderr, work.variables)
    from trainer_hooks.actions.executors.ray import RayExecutor

    return RayExecutor(
        asked["address"],
        resources=work.resources,
        runtime_env=work.cluster_environment,
        variables=work.variables,
        output=None if asked["detach"] else _write_to_stderr,
    )


def _detached(executor: Any, work: _Work) -> dict[str, str]:
    handle = executor.submit(work.entrypoint, work.params, folder=work.folder, settings=work.settings)
    found: dict[str, str] = handle.detach()
    return found


def _result(executors: Any, executor: Any, work: _Work, asked: Mapping[str, Any]) -> dict[str, Any]:
    limits = {"retries": asked["retries"], "timeout": asked["timeout"]}
    # An action in this process has its own way to end by a signal.
    with contextlib.nullcontext() if asked["executor"] == "local" else _interrupted_by_signals():
        found: dict[str, Any] = executors.run(
            executor, work.entrypoint, work.params, folder=work.folder, settings=work.settings, **limits
        )
    return found


@contextlib.contextmanager
def _interrupted_by_signals() -> Iterator[None]:
    """What asks this process to end is as Ctrl-C: the action elsewhere is stopped first."""
    found = {number: signal.signal(number, signal.default_int_handler) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in found.items():
            signal.signal(number, handler)


def _write_to_stderr(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()

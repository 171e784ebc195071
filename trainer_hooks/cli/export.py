"""`trainer-hooks runs export`: runs, for other tools."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from trainer_hooks.cli.addresses import runs_root
from trainer_hooks.cli.finding import find_run, read_runs
from trainer_hooks.errors import SetupError
from trainer_hooks.history import RunHistory

_FORMATS = ("jsonl", "csv", "parquet", "tensorboard", "mlflow")
_NEED_A_PLACE = {
    "parquet": "-o runs.parquet",
    "tensorboard": "-o logdir",
    "mlflow": "-o http://localhost:5000 (or sqlite:///mlflow.db)",
}


@click.command()
@click.argument("run", required=False)
@click.option("--all", "everything", is_flag=True, help="All runs, in place of one.")
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the runs are; by default TRAINER_HOOKS_DIR, or trainer_runs.",
)
@click.option("--format", "kind", type=click.Choice(_FORMATS), default="jsonl", show_default=True)
@click.option(
    "-o",
    "--output",
    default="-",
    help="A file; for tensorboard a folder, for mlflow the address of its server or store.",
)
@click.option("--experiment", default="trainer_hooks", show_default=True, help="MLflow's experiment.")
def export(
    *, run: str | None, everything: bool, directory: Path | None, kind: str, output: str, experiment: str
) -> None:
    r"""Write out RUN, or --all.

    \b
    jsonl        every record
    csv          a row per epoch of each attempt (or per told iteration), a column per metric
    parquet      a row per value: run, attempt, metric, axis, step, time, value
    tensorboard  an event file per run, in a folder of its own
    mlflow       a run each: parameters, metrics, tags, status; again, and only what is new is added

    The last three need: pip install 'trainer-hooks[export]'.
    """
    if bool(run) == everything:
        raise click.UsageError("name one RUN, or give --all")
    root = runs_root(directory)
    histories = read_runs(root) if everything else [find_run(root, run)]
    if output == "-" and kind in _NEED_A_PLACE:
        message = f"{kind} can't go to a terminal or a pipe: say where to, as in {_NEED_A_PLACE[kind]}"
        raise SetupError(message)
    _write(histories, kind, output, experiment)


def _write(histories: Sequence[RunHistory], kind: str, output: str, experiment: str) -> None:
    if kind == "tensorboard":
        from trainer_hooks.cli.exports.tensorboard import write_tensorboard

        for history in histories:
            click.echo(write_tensorboard(history, Path(output)), err=True)
    elif kind == "mlflow":
        from trainer_hooks.cli.exports.mlflow import Exporter

        exporter = Exporter(output, experiment)
        for history in histories:
            click.echo(f"{history.run}: {exporter.write(history)}", err=True)
    elif kind == "parquet":
        from trainer_hooks.cli.exports.parquet import write_parquet

        write_parquet(histories, Path(output))
    else:
        _write_text(histories, kind, output)


def _write_text(histories: Sequence[RunHistory], kind: str, output: str) -> None:
    from trainer_hooks.cli.exports.plain import write_csv, write_jsonl

    if kind == "csv" and len(histories) > 1:
        message = "csv has the columns of one run's metrics: name the run, or take --format parquet for all"
        raise SetupError(message)
    with click.open_file(output, "w", encoding="utf-8", atomic=output != "-") as opened:
        if kind == "jsonl":
            write_jsonl(histories, opened)
        else:
            for history in histories:
                write_csv(history, opened)

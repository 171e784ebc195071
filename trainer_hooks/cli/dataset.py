"""`trainer-hooks dataset`: fetch, convert, look at and split datasets."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
import msgspec

from trainer_hooks import datasets
from trainer_hooks.cli.dataset_cache import cache
from trainer_hooks.cli.dataset_options import (
    classes_option,
    dataset_argument,
    encoded,
    json_option,
    missing_option,
    print_findings,
    source_option,
    split_options,
    task_option,
    telling,
    wanted_classes,
    wanted_split,
    workers_option,
)
from trainer_hooks.cli.progress import counting, shown_size, transferring
from trainer_hooks.errors import InvalidSetting

_NOT_OF_A_LIST = ("uri", "snapshot_id", "version_hash", "task", "whole")


@click.group()
@click.pass_context
def dataset(context: click.Context) -> None:
    """Fetch, convert, validate and split datasets.

    Exit status: 0 done, 1 `validate` or `cache verify` has found something, 2 the call, the set-up or the dataset is
    wrong.
    """
    context.with_resource(telling())


dataset.add_command(cache)


@dataset.command()
@click.argument("dataset_id", required=False)
@click.option("--uri", help="Its address, instead of an id: s3://bucket/prefix or file:///folder.")
@click.option(
    "--list",
    "listed",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A JSON file with the addresses of its files, instead of an id: the platform's data_summary.",
)
@click.option(
    "--format", "kind", default="labelme", show_default=True, help="Of the labels in --list: labelme or coco."
)
@click.option("--snapshot-id", help="Which snapshot of it; with the hash, it is found without asking the storage.")
@click.option("--version-hash", help="SHA-256 over its annotation files; compared.")
@click.option("--task", help="Only the annotation file of this task, and the images it names.")
@click.option("--whole", is_flag=True, help="All of it, and not only what its annotation files name.")
@missing_option
@click.option("--to", type=click.Path(path_type=Path), help="A folder to make of it; it takes next to no room.")
@json_option
def fetch(*, listed: Path | None, kind: str, to: Path | None, as_json: bool, **asked: Any) -> None:
    """Fetch a dataset into the cache; prints where it is.

    DATASET_ID is one of the configured storage's (TRAINER_HOOKS_DATASET_STORAGE or EXTERNAL_BUCKET_DATASETS), where it
    lies below datasets/<id>/. Without --to it is in the cache alone, where a later one may take its room.
    """
    if listed is not None:
        _refuse_beside_list(asked)
    with transferring("fetching") as progress:
        if listed is None:
            found = datasets.fetch(**asked, progress=progress)
        else:
            found = datasets.fetch_annotation(
                _list_in(listed), format=kind, max_missing=asked["max_missing"], progress=progress
            )
    path = found.path if to is None else found.link_into(to).path
    found.release()
    if as_json:
        told = ("id", "format", "files", "size", "missing")
        click.echo(encoded({"path": str(path), **{name: getattr(found, name) for name in told}}))
        return
    click.echo(f"{found.files:,} files, {shown_size(found.size)}", err=True)
    for name in found.missing:
        click.echo(f"missing: {name}", err=True)
    click.echo(path)


@dataset.command()
@dataset_argument
@source_option
@click.option("--target", required=True, help="The format wanted: yolo, coco, folders, labelme or dice.")
@task_option
@click.option("--to", type=click.Path(path_type=Path), help="The folder to make; by default beside the dataset.")
@split_options
@classes_option
@missing_option
@click.option("--engine", default="local", show_default=True, help="ray: on the cluster that Ray is connected to.")
@workers_option
@json_option
def convert(  # noqa: PLR0913 - an option each
    *,
    dataset: Path,
    source: str,
    target: str,
    task: str,
    to: Path | None,
    classes: str | None,
    max_missing: int,
    engine: str,
    workers: int | None,
    as_json: bool,
    **split: Any,
) -> None:
    """Convert DATASET, a folder or one file of annotations; prints what a trainer is given.

    That is the path of data.yaml for YOLO, else the folder's. What was clipped, dropped, repaired or renamed is told on
    stderr, and stands in report.json and findings.jsonl in the folder.
    """
    with counting("converting") as progress:
        made = datasets.convert(
            dataset,
            source=source,
            target=target,
            task=task,
            to=to,
            split=wanted_split(**split),
            classes=wanted_classes(classes),
            max_missing=max_missing,
            engine=engine,
            workers=workers,
            progress=progress,
        )
    report = datasets.read_report(made)
    if as_json:
        click.echo(encoded({"path": made, "report": report}))
        return
    place = Path(made)
    print_findings(report, err=True, all_in=(place if place.is_dir() else place.parent) / "findings.jsonl")
    click.echo(made)


@dataset.command()
@dataset_argument
@source_option
@click.option("--target", help="Look at it as for this format; by default yolo, and folders for classification.")
@task_option
@split_options
@classes_option
@workers_option
@json_option
def validate(  # noqa: PLR0913 - an option each
    *,
    dataset: Path,
    source: str,
    target: str | None,
    task: str,
    classes: str | None,
    workers: int | None,
    as_json: bool,
    **split: Any,
) -> None:
    """Tell what `convert` would find, and write nothing.

    Exit status: 0 there is nothing to find, 1 there is, 2 the call is wrong, or the dataset can't be read at all.
    """
    with counting("reading") as progress:
        report = datasets.validate(
            dataset,
            source=source,
            target=target,
            task=task,
            split=wanted_split(**split),
            classes=wanted_classes(classes),
            workers=workers,
            progress=progress,
        )
    if as_json:
        click.echo(encoded(report))
    else:
        click.echo(report.summary())
        print_findings(report, err=False)
    sys.exit(0 if report.is_clean else 1)


@dataset.command()
@dataset_argument
@source_option
@task_option
@split_options
@click.option("-o", "--output", type=click.File("w", encoding="utf-8", atomic=True), default="-", help="A file.")
def split(*, dataset: Path, source: str, task: str, output: Any, **split: Any) -> None:
    """Write down which image goes into which split, as JSON for --splits of the other commands."""
    names = datasets.split(dataset, source=source, task=task, split=wanted_split(**split))
    output.write(encoded({name: which for which, some in names.items() for name in some}) + "\n")
    click.echo(", ".join(f"{len(some):,} {which}" for which, some in names.items() if some), err=True)


def _refuse_beside_list(asked: dict[str, Any]) -> None:
    shown = {"dataset_id": "DATASET_ID", **{name: f"--{name.replace('_', '-')}" for name in _NOT_OF_A_LIST}}
    given = [shown[name] for name in shown if asked[name]]
    if given:
        message = f"{', '.join(given)} can't be given with --list, which names all that is fetched; leave one out"
        raise click.UsageError(message)


def _list_in(file: Path) -> dict[str, Any]:
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
    except msgspec.MsgspecError as error:
        message = f"--list {file} must be a JSON object with data_summary in it: {error}"
        raise InvalidSetting(message) from error

"""What the commands of `trainer-hooks dataset` have in common: options, and how a report is shown."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from trainer_hooks.datasets.report import Report
from trainer_hooks.datasets.splitting import Split
from trainer_hooks.errors import InvalidSetting
from trainer_hooks.redact import Redactor, known_secrets
from trainer_hooks.settings import environment

_FINDINGS = 10
_Command = TypeVar("_Command", bound=Callable[..., Any])

dataset_argument = click.argument("dataset", type=click.Path(path_type=Path, exists=True))
source_option = click.option("--source", required=True, help="Its format: dice, coco, labelme, yolo or folders.")
task_option = click.option(
    "--task", required=True, help="detection, segmentation, pose, obb or classification, as the platform says it, too."
)
classes_option = click.option(
    "--classes", help="The only classes wanted, in this order: a,b,c, or @FILE with one on each line."
)
workers_option = click.option("--workers", type=click.IntRange(min=1), help="Processes; by default one per core.")
missing_option = click.option(
    "--max-missing", type=click.IntRange(min=0), default=0, show_default=True, help="How many images may be missing."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

_SPLIT_OPTIONS = (
    click.option("--split-ratio", metavar="SHARES", help="Shares of train, val and test: 0.8,0.2 or 0.7,0.2,0.1."),
    click.option("--seed", type=int, help="Of the hash that splits; by default 42."),
    click.option("--stratify", is_flag=True, help="Divide each class in these shares, as well as can be."),
    click.option("--group", help="What stays together: folder, or a regular expression whose match is the same."),
    click.option("--by-hash", is_flag=True, help="Pass over what the dataset itself says of its splits."),
    click.option(
        "--splits",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        help="A JSON file: image (id or name) to split, as `dataset split` writes it.",
    ),
)


def split_options(command: _Command) -> _Command:
    """The options of `wanted_split`, which take its arguments' names."""
    for option in reversed(_SPLIT_OPTIONS):
        command = option(command)
    return command


def wanted_split(
    *,
    split_ratio: str | None,
    seed: int | None,
    stratify: bool,
    group: str | None,
    by_hash: bool,
    splits: Path | None,
) -> Split | None:
    """What the options ask for; None where they ask for nothing.

    Raises:
        InvalidSetting: for shares or a file that can't be used.
    """
    given: dict[str, Any] = {
        "assign": None if splits is None else _assigned(splits),
        "ratios": None if split_ratio is None else _ratios(split_ratio),
        "seed": seed,
        "stratify": stratify or None,
        "group": group,
        "by_hash": by_hash or None,
    }
    values = {name: value for name, value in given.items() if value is not None}
    return Split(**values) if values else None


def _assigned(file: Path) -> dict[str, str | None]:
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, str | None])
    except msgspec.MsgspecError as error:
        message = f'--splits {file} must be JSON as {{"image": "train", …}}: {error}'
        raise InvalidSetting(message) from error


def _ratios(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(share) for share in text.split(","))
    except ValueError as error:
        message = f"--split-ratio can't be {text!r}: write shares, as 0.8,0.2 or 0.7,0.2,0.1"
        raise InvalidSetting(message) from error


def wanted_classes(text: str | None) -> list[str] | None:
    """The names of `--classes`.

    Raises:
        InvalidSetting: where it names none, or a file that can't be read.
    """
    if text is None:
        return None
    listed = text.split(",")
    if text.startswith("@"):
        try:
            listed = Path(text[1:]).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            message = f"--classes names {text[1:]!r}, which can't be read: {error}"
            raise InvalidSetting(message) from error
    names = [name.strip() for name in listed if name.strip()]
    if not names:
        message = f"--classes {text!r} names no class"
        raise InvalidSetting(message)
    return names


@contextlib.contextmanager
def telling() -> Iterator[None]:
    """What the library logs goes to stderr, a line each, without secrets."""
    logger, handler = logging.getLogger("trainer_hooks"), _Echo()
    level, propagates = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagates


class _Echo(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self._redactor = Redactor(known_secrets(environment()))

    def emit(self, record: logging.LogRecord) -> None:
        # Not click's echo, which finds its own way to the terminal: it would write into the line of the bar.
        sys.stderr.write(self._redactor.text(record.getMessage()) + "\n")


def print_findings(report: Report, *, err: bool, all_in: Path | None = None) -> None:
    """How often what was done and why, and the first of it in full."""
    for action, reasons in sorted(report.counts.items()):
        for reason, count in sorted(reasons.items()):
            click.echo(f"  {count:,} {action}: {reason}", err=err)
    for finding in report.findings[:_FINDINGS]:
        click.echo(f"{finding}", err=err)
    if len(report.findings) > _FINDINGS and all_in is not None:
        click.echo(f"… all of them: {all_in}", err=err)
    elif len(report.findings) > _FINDINGS:
        click.echo("… more of them: --json", err=err)


def encoded(content: object) -> str:
    """For a program that reads it."""
    return msgspec.json.format(msgspec.json.encode(content), indent=2).decode()

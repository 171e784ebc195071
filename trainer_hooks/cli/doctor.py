"""`trainer-hooks doctor`: is everything set up as it should be? Each check does the real thing."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import TYPE_CHECKING

import click

from trainer_hooks.cli.tables import print_table
from trainer_hooks.errors import InvalidSetting
from trainer_hooks.redact import Redactor, known_secrets
from trainer_hooks.settings import Settings, environment

if TYPE_CHECKING:
    from trainer_hooks.cli.checks import Check


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(*, as_json: bool) -> None:
    """Check the set-up by doing the real thing.

    Settings, packages, frameworks, the runs' directory, the platform, Synapse, the storage and ClearML; credentials are
    never shown.

    The storage is tried with a small object under checkpoints/.doctor-…, which is removed again; the platform is asked
    which protocol it speaks, Synapse for the job, ClearML for a login and a project, and nothing is sent to them.

    Exit status: 0 everything that is configured works, 1 something failed.
    """
    from trainer_hooks.cli import checks

    shown: dict[str, tuple[str, str]] = {}
    secrets = known_secrets(environment())
    try:
        settings = Settings.load()
    except InvalidSetting as error:
        found = [checks.Check("settings", "failed", str(error), "correct or unset it")]
    else:
        found = list(checks.check_all(settings))
        shown = settings.shown()
        secrets += settings.secrets()
    redactor = Redactor(secrets)
    found = [
        dataclasses.replace(check, found=redactor.text(check.found), mend=redactor.text(check.mend)) for check in found
    ]
    if as_json:
        values = {name: {"value": redactor.text(value), "source": source} for name, (value, source) in shown.items()}
        told = [dataclasses.asdict(check) for check in found]
        click.echo(json.dumps({"settings": values, "checks": told}, indent=2, ensure_ascii=False))
    else:
        _print(found, {name: (redactor.text(value), source) for name, (value, source) in shown.items()})
    sys.exit(any(check.status == "failed" for check in found))


def _print(found: list[Check], shown: dict[str, tuple[str, str]]) -> None:
    if shown:
        print_table(("setting", "value", "from"), [(name, *value) for name, value in shown.items()])
        click.echo()
    print_table(("check", "status", "found"), [(check.name, check.status, check.found) for check in found])
    for check in found:
        if check.mend:
            click.echo(f"{check.name}: {check.mend}")

"""Write docs/settings.md from `trainer_hooks.settings`: `python tools/settings_page.py`."""

from __future__ import annotations

from pathlib import Path

from trainer_hooks.settings import DESCRIPTIONS, ENVIRONMENT, Settings

PAGE = Path(__file__).parent.parent / "docs" / "settings.md"
INTRODUCTION = """\
# Settings

A setting comes from, in this order: an argument of `autolog` or `start_run` (by its name), the environment, the file
`trainer_hooks.toml` in the working directory (or the one that `TRAINER_HOOKS_CONFIG` names; keys are the names), the
default. An empty variable counts as unset. A value that can't be used is an error at once, which names it, its source
and what is allowed. Credentials have no default, can't stand in the file, and are never printed.
`trainer-hooks doctor` shows each value and where it came from.

| name | variable | default | meaning |
|---|---|---|---|
"""
OTHERS = """
## Variables that are no settings

- `TRAINER_HOOKS_CONFIG`: the file of settings.
- `TRAINER_HOOKS_AUTOLOG`: the frameworks that `trainer-hooks run` attaches to, with commas between; by default all.
- `TRAINER_HOOKS_SUPERVISOR`, set by `trainer-hooks run`: which process waits; only its own child believes it.
- `TRAINER_HOOKS_WITHIN`, set by an action at work: the run and the attempt that what it starts is a part of.
- `SYNAPSE_ACTION_ENTRYPOINT`, set by predecessor A's platform: the action, where `trainer-hooks action run` names none.
- `SYNAPSE_ACTION_PARAMS`, or `SYNAPSE_ACTION_PARAMS_FILE`, from there, too: its parameters, where none are given.
"""


def page() -> str:
    """The whole page."""
    defaults = Settings()
    rows = []
    for name, env in ENVIRONMENT.items():
        default = getattr(defaults, name)
        shown = "-" if default is None else f"`{default}`"
        secret = " (a credential)" if env.secret else ""
        rows.append(f"| `{name}` | `{'`, `'.join(env.names)}` | {shown} | {DESCRIPTIONS[name]}{secret} |\n")
    return INTRODUCTION + "".join(rows) + OTHERS


if __name__ == "__main__":
    PAGE.write_text(page())

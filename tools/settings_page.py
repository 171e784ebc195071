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


def page() -> str:
    """The whole page."""
    defaults = Settings()
    rows = []
    for name, env in ENVIRONMENT.items():
        default = getattr(defaults, name)
        shown = "-" if default is None else f"`{default}`"
        secret = " (a credential)" if env.secret else ""
        rows.append(f"| `{name}` | `{'`, `'.join(env.names)}` | {shown} | {DESCRIPTIONS[name]}{secret} |\n")
    return INTRODUCTION + "".join(rows)


if __name__ == "__main__":
    PAGE.write_text(page())

"""The page: runs, seen in a browser. HTML is made here; the scripts in `static/` ask the API for curves and logs."""

from __future__ import annotations

from fastapi import APIRouter

from trainer_hooks.receiver.guard import SIGN_IN
from trainer_hooks.receiver.page import assets, compare, run, runs, session

OPEN = (SIGN_IN, f"{assets.PATH}/")
"""What can be had without having signed in: the form, and files that tell nothing of runs."""


def pages() -> tuple[APIRouter, ...]:
    """All routes of the page."""
    return (assets.router, session.router, runs.router, run.router, compare.router)

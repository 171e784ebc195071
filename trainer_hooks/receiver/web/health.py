"""Whether the server answers, for whoever keeps it running."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter

PATH = "/healthz"
router = APIRouter()


@dataclass(frozen=True)
class Health:
    """That it answers; and nothing about what it holds, since no token is asked for."""

    status: str = "ok"


@router.get(PATH, include_in_schema=False)
async def health() -> Health:
    """A sign of life, without a token.

    It says nothing of the disk: a server that can't write says so to who writes (503), and still shows what there is.
    """
    return Health()

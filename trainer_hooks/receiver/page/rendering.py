"""HTML out of templates: escaped, with the few ways in which values are written."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from trainer_hooks.receiver.page.assets import asset_path
from trainer_hooks.receiver.texts import ago, duration, moment, size, value

# A page shows nothing but its own files; plotly.js writes styles into elements, and draws what can be saved as data.
_POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


def render(request: Request, template: str, /, *, answer: int = 200, **values: Any) -> HTMLResponse:
    """The page, or the part of one, that the template makes of the values."""
    base = request.scope.get("root_path", "")
    needs_token = request.app.state.backend.tokens.are_needed
    text = _ENVIRONMENT.get_template(template).render(base=base, can_sign_out=needs_token, **values)
    headers = {"Content-Security-Policy": _POLICY, "Referrer-Policy": "same-origin"}
    return HTMLResponse(text, answer, headers)


def segment(text: str) -> str:
    """One segment of a path."""
    return quote(text, safe="")


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        ago=ago, duration=duration, size=size, value=value, moment=moment, segment=segment, asset=asset_path
    )
    return environment


_ENVIRONMENT = _environment()

"""What pages load beside their HTML: our own files, and plotly.js out of the installed package `plotly`."""

from __future__ import annotations

import functools
import gzip
import hashlib
from importlib.util import find_spec
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import Response

router = APIRouter(include_in_schema=False)
PATH = "/assets"
_STATIC = Path(__file__).parent / "static"
_PLOTLY = "plotly.min.js"
_KINDS = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}
# The path names the content, so that it may be kept for a year.
_KEPT = "public, max-age=31536000, immutable"


def asset_path(name: str) -> str:
    """The path of a file, below the server's root: another one for each content."""
    return f"{PATH}/{_version()}/{name}"


@router.get(PATH + "/{version}/{name}")
def asset(request: Request, version: str, name: str) -> Response:
    """A file, packed where the browser takes that."""
    file = _files().get(name)
    if file is None:
        return Response(status_code=404)
    keep = _KEPT if version == _version() else "no-cache"
    headers = {"Cache-Control": keep, "Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(_packed(file), headers={**headers, "Content-Encoding": "gzip"}, media_type=_KINDS[file.suffix])
    return Response(file.read_bytes(), headers=headers, media_type=_KINDS[file.suffix])


@functools.cache
def _files() -> dict[str, Path]:
    files = {path.name: path for path in _STATIC.iterdir() if path.suffix in _KINDS}
    # Found without being imported: the Python part of plotly takes a while, and is not wanted.
    plotly = find_spec("plotly")
    for folder in (plotly.submodule_search_locations if plotly else None) or ():
        files[_PLOTLY] = Path(folder) / "package_data" / _PLOTLY
    return files


@functools.cache
def _version() -> str:
    digest = hashlib.sha256()
    for name, path in sorted(_files().items()):
        digest.update(f"{name} {path.stat().st_size}\n".encode())
        if name != _PLOTLY:
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


@functools.cache
def _packed(file: Path) -> bytes:
    return gzip.compress(file.read_bytes(), 6)

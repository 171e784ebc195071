"""What the tests of backends over HTTP share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A file of three pieces, where a piece is 1 MiB."""
    path = tmp_path / "best.pt"
    path.write_bytes(os.urandom((2 << 20) + 12345))
    return path

"""Lets mmcv-lite, which has no compiled operators, pass for mmcv where nothing but non-maximum suppression is needed.

Put this folder on PYTHONPATH. Where mmcv brings its own operators, those are used and nothing is changed.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import sys
from pathlib import Path
from typing import Any

_OPERATORS = "mmcv._ext"


class _Instead(importlib.abc.MetaPathFinder):
    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:  # noqa: ARG002 - the protocol's
        if name != _OPERATORS:
            return None
        return importlib.util.spec_from_file_location(name, Path(__file__).with_name("operators.py"))


# Last, so that it is asked only for what nobody else has found.
sys.meta_path.append(_Instead())

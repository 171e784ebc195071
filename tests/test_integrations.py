"""How integrations are found, and what is said where one can't be used."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from trainer_hooks.errors import MissingPackage, UnknownFramework
from trainer_hooks.integrations import find_attach, known_frameworks, warn_if_untested


def test_those_in_the_package_are_known():
    assert {"mmengine", "ultralytics"} <= set(known_frameworks())


def test_a_misspelt_one_is_refused_with_what_was_meant():
    with pytest.raises(UnknownFramework, match=r"no integration for 'mmengin' .* did you mean 'mmengine'\?"):
        find_attach("mmengin")


@pytest.mark.parametrize("content", ["", "class Runner: pass"])
def test_a_framework_that_is_missing_or_too_old_is_said_with_the_mend(tmp_path, content):
    """In a process of its own, where another MMEngine stands first on the path."""
    (tmp_path / "mmengine").mkdir()
    (tmp_path / "mmengine" / "__init__.py").write_text("__version__ = '0.1'")
    (tmp_path / "mmengine" / "runner.py").write_text(content)
    code = "from trainer_hooks.integrations import find_attach; find_attach('mmengine')"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    last = done.stderr.splitlines()[-1]
    assert MissingPackage.__qualname__ in last
    assert "'mmengine' can't be imported" in last
    assert "pip install --upgrade 'trainer-hooks[mmengine]'" in last


@pytest.mark.parametrize(
    ("version", "warns"), [("8.2.103", True), ("8.3.0", False), ("8.4.190", False), ("8.4.191", True), ("9.0.0", True)]
)
def test_a_version_outside_the_tested_range_is_warned_of(caplog, version, warns):
    with caplog.at_level(logging.WARNING, "trainer_hooks"):
        warn_if_untested("ultralytics", version, "8.3.0", "8.4.190")
    assert [version in record.getMessage() for record in caplog.records] == ([True] if warns else [])

"""What of a folder is sent to another machine, and that the same content makes the same package."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from trainer_hooks.actions.executors import shipping
from trainer_hooks.errors import InvalidSetting
from trainer_hooks.settings import Settings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = ["plug.py", "lib/part.py", "data/0.jpg", "runs/train/best.pt", ".git/HEAD", ".env", "venv/pyvenv.cfg"]
    files += ["keep/weights.pt", "lib/__pycache__/part.pyc", "my_runs/one/journal/000001.jsonl"]
    for name in files:
        (tmp_path / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / name).write_text(name)
    return tmp_path / "folder"


def packed(folder: Path, leave_out: tuple[str, ...] = ()) -> set[str]:
    target = folder.with_name("package.zip")
    settings = Settings.load(directory=str(folder / "my_runs"))
    shipping.pack(folder, target, {"params.json": b"{}"}, leave_out=leave_out, settings=settings)
    with zipfile.ZipFile(target) as package:
        return set(package.namelist())


def test_work_data_and_secrets_stay_here(folder):
    assert packed(folder) == {"params.json", "plug.py", "lib/part.py", "keep/weights.pt"}


def test_more_can_be_left_out_and_what_is_wanted_sent(folder):
    assert packed(folder, ("*.pt", "!data")) == {"params.json", "plug.py", "lib/part.py", "data/0.jpg"}


def test_a_package_named_data_is_sent(folder):
    (folder / "data" / "__init__.py").touch()
    assert {"data/__init__.py", "data/0.jpg"} <= packed(folder)


def test_the_same_content_makes_the_same_package(folder):
    packed(folder)
    before = folder.with_name("package.zip").read_bytes()
    os.utime(folder / "plug.py", (1, 1))
    packed(folder)
    assert folder.with_name("package.zip").read_bytes() == before


def test_what_is_too_large_is_named(folder, monkeypatch):
    monkeypatch.setattr(shipping, "LIMIT", 100)
    with pytest.raises(InvalidSetting, match=r"so far it has plug\.py \(0 MB\).*excludes"):
        packed(folder)

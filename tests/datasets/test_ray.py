"""Conversions on a Ray cluster, in the environment of `make test-ray`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.datasets.trees import beside, contents, large_tree
from tests.waiting import wait_until
from trainer_hooks import datasets
from trainer_hooks.errors import DatasetError, MissingPackage

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return large_tree(tmp_path / "source", 1000)


def convert(dataset: Path, to: Path, engine: str, **more: Any) -> str:
    asked = {"source": "coco", "target": "yolo", "task": "detection", "workers": 2}
    return datasets.convert(dataset, to=to, engine=engine, **asked, **more)


def test_without_ray_the_mend_is_told(tmp_path: Path) -> None:
    hidden = tmp_path / "hidden" / "ray"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text("raise ImportError('no Ray here')")
    program = "from trainer_hooks.datasets.converting.engines import engine_named; engine_named('ray')"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(hidden.parent), *filter(None, sys.path)])}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert MissingPackage.__name__ in done.stderr
    assert 'pip install "trainer-hooks[ray]"' in done.stderr


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """One for all tests; its processes can import what the tests can."""
    ray = pytest.importorskip("ray", reason="Ray has an environment of its own: make test-ray")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        yield
    finally:
        ray.shutdown()
        os.environ.pop("PYTHONPATH")
        if before is not None:
            os.environ["PYTHONPATH"] = before


@pytest.mark.usefixtures("cluster")
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::ResourceWarning")
class TestOnACluster:
    def test_the_same_bytes_come_of_it_as_of_this_machine(self, source: Path, tmp_path: Path) -> None:
        made = []
        for engine in ("local", "ray"):
            convert(source, tmp_path / "out", engine)
            made.append(contents(tmp_path / "out"))
            shutil.rmtree(tmp_path / "out")
        assert made[0] == made[1]

    def test_progress_ends_with_all_images(self, source: Path, tmp_path: Path) -> None:
        told: list[tuple[int, int]] = []
        convert(source, tmp_path / "out", "ray", progress=lambda done, of: told.append((done, of)))
        assert told[-1] == (1000, 1000)

    def test_a_failure_is_the_same_as_here_and_leaves_nothing(self, source: Path, tmp_path: Path) -> None:
        (source / "images" / "00999.jpg").unlink()
        with pytest.raises(DatasetError, match=r"00999\.jpg: there is no such image in .*max_missing"):
            convert(source, tmp_path / "target" / "out", "ray")
        assert beside(tmp_path / "target" / "out") == set()

    def test_ended_early_no_task_is_at_work_any_more(self, source: Path, tmp_path: Path) -> None:
        target = tmp_path / "target" / "out"

        def fail(done: int, of: int) -> None:
            message = f"{done} of {of}"
            raise ZeroDivisionError(message)

        with pytest.raises(ZeroDivisionError):
            convert(source, target, "ray", progress=fail)
        wait_until(lambda: beside(target) == set(), 5, "the end of all that was written")


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::ResourceWarning")
def test_where_there_is_no_cluster_one_is_made_and_ended(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray", reason="Ray has an environment of its own: make test-ray")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    ray.shutdown()
    assert Path(convert(source, tmp_path / "out", "ray")).exists()
    assert not ray.is_initialized()

"""A real browser before a real receiver, over runs that real trainings have left."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.hosts import mmengine, scripts, ultralytics
from tests.receiver.serving import Receiver
from tests.waiting import wait_until

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = [
    "--no-sandbox",  # the tests may be root's
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
STEPS = """
from pydantic import BaseModel
from trainer_hooks.actions import BaseStep, BaseTrainAction, StepRegistry, StepResult, run_action

class Nothing(BaseModel):
    depth: int = 2

class Load(BaseStep):
    name = "load"
    progress_weight = 1
    def execute(self, ctx):
        return StepResult()

class Train(BaseStep):
    name = "train"
    progress_weight = 3
    def execute(self, ctx):
        return StepResult()

class Steps(BaseTrainAction[Nothing]):
    action_name = "steps"
    def setup_steps(self, registry: StepRegistry) -> None:
        registry.register(Load())
        registry.register(Train())

run_action(Steps, {})
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


def browser_program() -> str | None:
    """Where the system has a Chromium."""
    return next(filter(None, map(shutil.which, _BROWSERS)), None)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="the browser's tests are in make test-page")
    program = browser_program()
    if program is None:
        pytest.skip("no browser: install Debian's package chromium")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=program, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the runs are: `yolo` (with plots), `mm`, `broken` (failed in its second epoch), and one with steps."""
    folder = tmp_path_factory.mktemp("recorded")
    runs = folder / "runs"

    def environ(run: str) -> dict[str, str | None]:
        return {"TRAINER_HOOKS_DIR": str(runs), "TRAINER_HOOKS_RUN_ID": run, "TRAINER_HOOKS_LINGER": "0"}

    done = [
        scripts.run(ultralytics, folder / "yolo", "--autolog", "--plots", epochs=3, **environ("yolo")),
        scripts.run(mmengine, folder / "mm", "--autolog", epochs=2, **environ("mm")),
        subprocess.run(
            [sys.executable, "-c", STEPS],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(scripts.ROOT), "TRAINER_HOOKS_DIR": str(runs)},
            capture_output=True,
            text=True,
            check=False,
        ),
    ]
    assert [one.returncode for one in done] == [0, 0, 0], [one.stderr[-2000:] for one in done]
    scripts.ended_by(
        ultralytics, folder / "broken", "raise", epoch=2, arguments=["--autolog"], environment=environ("broken")
    )
    return runs


@pytest.fixture(scope="session")
def served(recorded: Path) -> Iterator[Receiver]:
    with Receiver(recorded) as receiver:
        yield receiver


class Viewer:
    """A person before the page: `page` is Playwright's; what went wrong in it is kept, and has to be nothing."""

    def __init__(self, page: Any, receiver: Receiver) -> None:
        self.page = page
        self.site = receiver.url.removesuffix("/api/v1")
        self.wrong: list[str] = []
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("console", lambda said: self.wrong.append(said.text) if said.type == "error" else None)
        page.on("request", lambda request: self._stay(request.url))

    def go(self, path: str) -> Any:
        self.page.goto(f"{self.site}{path}")
        return self.page

    def wait(self, condition: Any, what: str) -> Any:
        return wait_until(lambda: self.page.wait_for_timeout(20) or condition(), 20, what)

    def _stay(self, address: str) -> None:
        if not address.startswith((self.site, "data:", "blob:")):
            self.wrong.append(f"asked elsewhere: {address}")


@pytest.fixture
def viewer(browser: Any, served: Receiver) -> Iterator[Viewer]:
    with seen_by(browser, served) as viewer:
        yield viewer


@contextmanager
def seen_by(browser: Any, receiver: Receiver, **options: Any) -> Iterator[Viewer]:
    context = browser.new_context(**options)
    viewer = Viewer(context.new_page(), receiver)
    yield viewer
    context.close()
    assert viewer.wrong == []

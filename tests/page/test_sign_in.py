"""Signing in, in a browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.page.conftest import Viewer, seen_by
from tests.receiver.serving import Receiver

playwright = pytest.importorskip("playwright.sync_api", reason="the browser's tests are in make test-page")
expect = playwright.expect
TOKEN = "0123456789abcdef-token"


@pytest.fixture
def guarded(browser: Any, tmp_path: Path) -> Iterator[Viewer]:
    with Receiver(tmp_path / "runs", token=TOKEN) as receiver, seen_by(browser, receiver) as viewer:
        yield viewer


def test_the_token_opens_the_page_one_wanted_and_signing_out_closes_it(guarded: Viewer) -> None:
    page = guarded.go("/?search=yolo")
    expect(page).to_have_url(re.compile("/sign-in"))
    page.get_by_label("the server's token").fill("something else entirely")
    page.get_by_role("button", name="sign in").click()
    expect(page.get_by_role("alert")).to_have_text("That is not the server's token.")
    guarded.wrong.clear()  # the browser itself notes a 401
    page.get_by_label("the server's token").fill(TOKEN)
    page.get_by_role("button", name="sign in").click()
    expect(page).to_have_url(re.compile(r"/\?search=yolo$"))
    expect(page.get_by_role("heading", level=1)).to_have_text("Runs")
    assert "token" not in page.evaluate("document.cookie")
    page.get_by_role("button", name="sign out").click()
    expect(page).to_have_url(re.compile("/sign-in"))
    guarded.go("/")
    expect(page).to_have_url(re.compile("/sign-in"))

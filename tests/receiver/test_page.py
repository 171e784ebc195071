"""The page's routes as any client sees them: who gets in, and what may be asked for."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.receiver.serving import Receiver, envelope
from trainer_hooks.receiver.guard import SESSION
from trainer_hooks.receiver.texts import ago, duration, size, value
from trainer_hooks.receiver.tokens import Tokens

TOKEN = "0123456789abcdef-token"


def site(receiver: Receiver) -> httpx.Client:
    """A client without the token."""
    return httpx.Client(base_url=receiver.url.removesuffix("/api/v1"), timeout=30, trust_env=False)


def form(token: str, to: str = "/") -> dict[str, str]:
    return {"token": token, "next": to}


def test_without_a_session_one_is_asked_to_sign_in(start: Callable[..., Receiver]) -> None:
    with site(start(token=TOKEN)) as client:
        for path in ("/", "/run/7", "/compare?run=a&run=b"):
            answer = client.get(path)
            assert (answer.status_code, answer.headers["location"][:14]) == (303, "/sign-in?next=")
        assert client.get("/api/v1/runs").status_code == 401
        assert client.get("/sign-in").status_code == 200


def test_a_session_opens_pages_and_the_api(start: Callable[..., Receiver]) -> None:
    with site(start(token=TOKEN)) as client:
        answer = client.post("/sign-in", data=form(TOKEN, "/?search=a"))
        assert (answer.status_code, answer.headers["location"]) == (303, "/?search=a")
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert TOKEN not in cookie
        assert client.get("/").status_code == 200
        assert client.get("/api/v1/runs").status_code == 200
        assert client.post("/api/v1/jobs/7/cancel", json={}).status_code == 200


def test_another_origin_has_no_use_of_a_session(start: Callable[..., Receiver]) -> None:
    with site(start(token=TOKEN)) as client:
        client.post("/sign-in", data=form(TOKEN))
        elsewhere = {"Origin": "https://elsewhere.example"}
        assert client.post("/api/v1/jobs/7/cancel", json={}, headers=elsewhere).status_code == 403
        assert client.post("/sign-out", headers=elsewhere).status_code == 403
        assert client.post("/api/v1/jobs/7/cancel", data={"reason": "a form"}).status_code == 415


@pytest.mark.parametrize("token", ["", "x", "0123456789abcdef-tokeN"])
def test_another_token_opens_nothing(start: Callable[..., Receiver], token: str) -> None:
    with site(start(token=TOKEN)) as client:
        answer = client.post("/sign-in", data=form(token))
        assert answer.status_code == 401
        assert "set-cookie" not in answer.headers


def test_a_jobs_token_signs_nobody_in(start: Callable[..., Receiver]) -> None:
    with site(start(token=TOKEN)) as client:
        assert client.post("/sign-in", data=form(Tokens(TOKEN).of_job("7"))).status_code == 401


def test_sessions_end_and_can_not_be_made_up() -> None:
    tokens, now = Tokens(TOKEN), int(time.time())
    good = tokens.session(TOKEN, now + 60)
    assert good
    assert tokens.allow_session(good)
    assert not tokens.allow_session(tokens.session(TOKEN, now - 1) or "")
    assert not tokens.allow_session(good.replace(str(now + 60), str(now + 61)))
    assert not Tokens("another-token-of-some-length").allow_session(good)
    for forged in ("", ".", "9" * 12, f"{now + 60}.", "１.a", good + "0"):
        assert not tokens.allow_session(forged)


@pytest.mark.parametrize(
    "wanted",
    [
        "https://elsewhere.example/",
        "//elsewhere.example/",
        "///elsewhere.example/",  # no host to Python, one to browsers
        "/\\elsewhere.example",
        "javascript:alert(1)",
        "",
    ],
)
def test_signing_in_leads_nowhere_else(start: Callable[..., Receiver], wanted: str) -> None:
    with site(start(token=TOKEN)) as client:
        assert client.post("/sign-in", data=form(TOKEN, wanted)).headers["location"] == "/"


def test_files_of_the_page_are_kept_and_nothing_else_is_given(shared: Receiver) -> None:
    with site(shared) as client:
        page = client.get("/")
        assert "default-src 'self'" in page.headers["content-security-policy"]
        address = page.text.partition('rel="stylesheet" href="')[2].partition('"')[0]
        style = client.get(address)
        assert (style.status_code, style.headers["content-type"]) == (200, "text/css; charset=utf-8")
        assert "immutable" in style.headers["cache-control"]
        plotly = client.get(f"{address.rpartition('/')[0]}/plotly.min.js")
        assert len(plotly.text) > 1_000_000
        for name in ("..%2frendering.py", "rendering.py", "%2e%2e", "page.css%00"):
            assert client.get(f"{address.rpartition('/')[0]}/{name}").status_code == 404


def test_a_page_holds_no_more_than_fifty_of_many_runs(start: Callable[..., Receiver]) -> None:
    receiver = start()
    for run in range(120):
        batch = [envelope(f"run {run}", 1, {"type": "run_started"}, time=1_700_000_000.0 + run)]
        receiver.post(f"/training/jobs/{run}/events", {"events": batch})
    with site(receiver) as client:
        first, last = client.get("/").text, client.get("/", params={"page": 3}).text
    assert (first.count("<tr data-key"), last.count("<tr data-key")) == (50, 20)
    assert "1 of 3" in first
    assert 'data-key="run 119"' in first
    assert 'data-key="run 0"' in last


def test_behind_a_prefix_all_links_have_it(start: Callable[..., Receiver], tmp_path: Path) -> None:
    receiver = start(tmp_path / "runs", token=TOKEN, TRAINER_HOOKS_SERVE_URL="https://runs.example/team")
    with site(receiver) as client:
        asked = client.get("/run/7")
        assert asked.headers["location"] == "/team/sign-in?next=%2Frun%2F7"
        signed = client.post("/sign-in", data=form(TOKEN, "/run/7"))
        assert signed.headers["location"] == "/team/run/7"
        assert "Secure" in signed.headers["set-cookie"]
        page = client.get("/", headers={"Cookie": f"{SESSION}={signed.cookies[SESSION]}"}).text
    assert 'href="/team/assets/' in page
    assert ' href="/"' not in page


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (59, "59 s"), (61, "1 min 01 s"), (3725, "1 h 02 min"), (90000, "1 d 1 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_how_long_ago_and_how_large() -> None:
    assert [ago(time.time() - age) for age in (-5, 0.2, 40, 200, 7300, 200_000)] == [
        "now", "now", "40 s", "3 min", "2 h", "2 d",
    ]  # fmt: skip
    assert [size(count) for count in (0, 999, 1000, 6_234_567, 10**15)] == [
        "0 B",
        "999 B",
        "1 kB",
        "6.23 MB",
        "1e+03 TB",
    ]
    assert [value(given) for given in (0.123456789, 3, True, None, "NaN")] == ["0.12346", "3", "True", "None", "NaN"]

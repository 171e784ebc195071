"""Images of trainings: sent by the real courier's destination, kept and shown by a real receiver."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.destinations.platform_parts import Outcome, Run
from tests.receiver.serving import Receiver, envelope
from tests.servers.platform import PlatformServer, Reply
from trainer_hooks import start_run
from trainer_hooks.events import ImageSaved, RunStarted
from trainer_hooks.receiver.images import LARGEST, MOST
from trainer_hooks.receiver.tokens import Tokens

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
NAME = "0a1b2c3d-000001-val%2Fresults.png"
TOKEN = "a-token-of-the-server's-0123456789"


@pytest.fixture
def sender(tmp_path: Path) -> Iterator[Run]:
    """A run with an image of its own."""
    run = Run(tmp_path / "sender", job="a/b", run="a run")
    (run.directory / "images").mkdir()
    (run.directory / "images" / NAME).write_bytes(PNG)
    yield run
    run.close()


def tell(receiver: Receiver, run: str) -> None:
    events = {"events": [envelope(run, 1, {"type": "run_started"})]}
    assert receiver.post(f"/training/jobs/{run}/events", events).status_code == 200


def put(receiver: Receiver, run: str, name: str, content: bytes = PNG, **headers: str) -> int:
    path = f"/training/jobs/{run}/runs/{run}/images/{name}"
    return receiver.http.put(path, content=content, headers=headers).status_code


def test_an_image_is_sent_behind_its_record_and_shown_by_its_content(shared: Receiver, sender: Run) -> None:
    records = sender.add(
        RunStarted(), ImageSaved(title="val/results", path="/out/results.png", staged=f"images/{NAME}")
    )
    with sender.destination(shared.url) as destination:
        assert len(Outcome(destination, records).delivered) == 2
    (kept,) = [event for event in shared.events("a run") if isinstance(event, ImageSaved)]
    assert kept.staged == f"images/{NAME}"
    shown = shared.http.get(f"/runs/a%20run/images/{NAME.replace('%', '%25')}")
    assert (shown.status_code, shown.content, shown.headers["content-type"]) == (200, PNG, "image/png")
    assert shown.headers["x-content-type-options"] == "nosniff"
    assert not (sender.directory / "images" / NAME).exists()


@pytest.mark.parametrize("content", [b"<svg/>", b"x" * (LARGEST + 1)])
def test_an_image_that_is_refused_costs_nothing_but_itself(shared: Receiver, sender: Run, content: bytes) -> None:
    (sender.directory / "images" / NAME).write_bytes(content)
    records = sender.add(ImageSaved(title="x", path="/x", staged=f"images/{NAME}"), RunStarted())
    with sender.destination(shared.url) as destination:
        outcome = Outcome(destination, records)
    assert (len(outcome.delivered), outcome.refused, outcome.reason) == (2, {}, "")


def test_a_server_that_fails_with_images_holds_up_nothing_for_long(sender: Run) -> None:
    records = sender.add(ImageSaved(title="x", path="/x", staged=f"images/{NAME}"), RunStarted())
    with PlatformServer(batch=True, integer_jobs=False) as server, sender.destination(server.url) as destination:
        server.images = True
        server.script([Reply(503)] * 3, path="/images/")
        outcomes = [Outcome(destination, records) for _ in range(3)]
    assert [len(outcome.delivered) for outcome in outcomes] == [0, 0, 2]


@pytest.mark.parametrize("batch", [True, False])
def test_a_server_that_takes_no_images_is_sent_none_and_no_copy_is_left(sender: Run, batch: bool) -> None:
    records = sender.add(ImageSaved(title="x", path="/x", staged=f"images/{NAME}"), RunStarted())
    with (
        PlatformServer(batch=batch, integer_jobs=False) as server,
        sender.destination(server.url) as destination,
    ):
        assert len(Outcome(destination, records).delivered) == 2
        assert not [one for one in server.requests if one.method == "PUT"]
    assert not (sender.directory / "images" / NAME).exists()


def test_an_image_too_large_for_the_courier_to_hold_is_not_read(sender: Run) -> None:
    with (sender.directory / "images" / NAME).open("ab") as file:
        file.truncate((16 << 20) + 1)
    records = sender.add(ImageSaved(title="x", path="/x", staged=f"images/{NAME}"), RunStarted())
    with PlatformServer(batch=True, integer_jobs=False) as server, sender.destination(server.url) as destination:
        server.images = True
        assert len(Outcome(destination, records).delivered) == 2
        assert not [one for one in server.requests if one.method == "PUT"]


def test_an_image_is_kept_once_whatever_is_sent_the_second_time(shared: Receiver) -> None:
    tell(shared, "once")
    assert put(shared, "once", "a.png") == 201
    assert put(shared, "once", "a.png", PNG + b"more") == 200
    assert shared.http.get("/runs/once/images/a.png").content == PNG


def test_a_run_has_a_bounded_number_of_images(shared: Receiver) -> None:
    tell(shared, "many")
    folder = shared.directory / ".#receiver" / "images" / "many"
    folder.mkdir(parents=True)
    for number in range(MOST):
        (folder / f"{number}.png").touch()
    assert (put(shared, "many", "more.png"), put(shared, "many", "7.png")) == (409, 200)


@pytest.mark.parametrize(
    "content",
    [b"", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"<html>", b"\x89PNG", b"GIF89", b"%PDF-1.7", b"RIFF1234WAVE"],
)
def test_only_images_are_taken(shared: Receiver, content: bytes) -> None:
    tell(shared, "odd")
    assert put(shared, "odd", "a.png", content, **{"Content-Type": "image/png"}) == 422
    assert shared.http.get("/runs/odd/images/a.png").status_code == 404


@pytest.mark.parametrize(
    ("beginning", "kind"),
    [(b"\xff\xd8\xff", "jpeg"), (b"GIF87a", "gif"), (b"RIFF\n\n\n\nWEBP", "webp")],
)
def test_an_image_is_of_the_kind_of_its_content(shared: Receiver, beginning: bytes, kind: str) -> None:
    tell(shared, "kinds")
    assert put(shared, "kinds", f"{kind}.html", beginning) == 201
    assert shared.http.get(f"/runs/kinds/images/{kind}.html").headers["content-type"] == f"image/{kind}"


@pytest.mark.parametrize("name", ["..", ".hidden", "..%2F..%2Fx", "a%2Fb", "a%5Cb", "a%00b", "%C3%BC.png", "x" * 201])
def test_no_images_name_leads_anywhere(shared: Receiver, name: str) -> None:
    tell(shared, "names")
    assert put(shared, "names", name) in (404, 405, 422)
    assert not (shared.directory / ".#receiver" / "images" / "names").exists()


def test_an_image_is_of_the_job_that_the_token_is_of(start: Any) -> None:
    receiver = start(token=TOKEN)
    for run in ("7", "8"):
        tell(receiver, run)
    of_seven = {"Authorization": f"Bearer {Tokens(TOKEN).of_job('7')}"}
    assert put(receiver, "7", "a.png", **of_seven) == 201
    assert put(receiver, "8", "a.png", **of_seven) == 401
    stolen = receiver.http.put("/training/jobs/7/runs/8/images/a.png", content=PNG, headers=of_seven)
    unknown = receiver.http.put("/training/jobs/7/runs/9/images/a.png", content=PNG, headers=of_seven)
    assert (stolen.status_code, unknown.status_code) == (404, 404)
    assert receiver.http.get("/runs/7/images/a.png", headers=of_seven).status_code == 401


@pytest.fixture
def own(shared: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A run of this machine's, in the receiver's directory, one of them drawn twice, one no image, one too large."""
    monkeypatch.setenv("TRAINER_HOOKS_DELIVERY", "none")
    monkeypatch.setenv("TRAINER_HOOKS_DIR", str(shared.directory))
    drawn = {"a 100%": PNG, "b": PNG, "no image": b"<script>alert(1)</script>", "too large": PNG + bytes(LARGEST)}
    with start_run(run_id=f"own {tmp_path.name}") as run:
        for title in (*drawn, "a 100%"):
            (file := tmp_path / "drawn.png").write_bytes(drawn[title])
            run.log_image(file, title=title)
    return run


def test_images_of_this_machines_runs_are_shown_from_their_own_copies(shared: Receiver, own: Any) -> None:
    told = shared.run(own.id)["attempts"][0]["images"]
    assert [image["title"] for image in told] == ["b", "no image", "too large", "a 100%"]
    answers = [shared.http.get(f"/runs/{own.id}/images/{quote(image['name'], safe='')}") for image in told]
    assert [answer.status_code for answer in answers] == [200, 404, 404, 200]
    assert answers[0].content == PNG
    assert answers[0].headers["content-type"] == "image/png"


def test_no_link_among_a_runs_images_leads_out(shared: Receiver, own: Any, tmp_path: Path) -> None:
    (secret := tmp_path / "secret.png").write_bytes(PNG)
    (own.directory / "images" / "link.png").symlink_to(secret)
    assert shared.http.get(f"/runs/{own.id}/images/link.png").status_code == 404


def test_what_a_run_tells_of_other_files_is_never_read(shared: Receiver, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(PNG)
    event = {"type": "image_saved", "title": "x", "path": f"{tmp_path}/secret.png", "staged": f"{tmp_path}/secret.png"}
    events = [envelope("liar", 1, {"type": "run_started"}), envelope("liar", 2, event)]
    assert shared.post("/training/jobs/liar/events", {"events": events}).status_code == 200
    assert shared.http.get("/runs/liar/images/secret.png").status_code == 404

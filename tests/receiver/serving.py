"""The receiver's process, and HTTP calls to it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx

from tests.waiting import wait_until
from trainer_hooks.events import AnyEvent
from trainer_hooks.journal import read_records

ROOT = Path(__file__).parent.parent.parent


class Receiver:
    """`trainer-hooks serve` over a directory. `token` is what it asks for, and what calls bring by default."""

    def __init__(self, directory: Path, *, token: str = "", port: int = 0, **environ: str) -> None:
        self.directory = directory
        self.token = token
        command = [sys.executable, "-m", "trainer_hooks.cli", "serve", "--port", str(port), "--dir", str(directory)]
        environ = os.environ | {"TRAINER_HOOKS_SERVE_TOKEN": token, "PYTHONUNBUFFERED": "1"} | environ
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.said: list[str] = []
        self._reader = threading.Thread(target=self._listen)
        self._reader.start()
        self.url = wait_until(self._address, 60, "the receiver's address").rstrip()
        self.http = httpx.Client(base_url=self.url, timeout=30, headers=self._headers(), trust_env=False)

    def __enter__(self) -> Receiver:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        finally:
            self.process.kill()
            self.process.wait()
            self._reader.join()
            if self.process.stdout:
                self.process.stdout.close()

    @property
    def place(self) -> tuple[str, int]:
        url = httpx.URL(self.url)
        return url.host, url.port or 0

    def kill(self) -> None:
        """As the kernel would: without a word."""
        self.process.kill()
        self.process.wait()

    def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        return self.http.post(path, json=body, headers=headers)

    def get(self, path: str, **query: Any) -> Any:
        """The JSON of an answer that has to be a 200."""
        answer = self.http.get(path, params=query)
        assert answer.status_code == 200, (path, answer.status_code, answer.text, self.said[-30:])
        return answer.json()

    def run(self, run: str) -> Any:
        return self.get(f"/runs/{run}")

    def events(self, run: str) -> list[AnyEvent]:
        """What the run's journal holds, without its segments' first records."""
        return [record.event for record in read_records(self.directory / run) if record.seq]

    def kinds(self, run: str) -> list[str]:
        return [str(event.__struct_config__.tag) for event in self.events(run)]

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def _listen(self) -> None:
        assert self.process.stdout
        self.said.extend(self.process.stdout)

    def _address(self) -> str:
        # Line by line: `extend` takes each as it comes.
        said = "".join(self.said)
        assert self.process.poll() is None, said
        found = re.search(r"CALLBACK_URL=(\S+)\n", said)
        behind_a_proxy = re.search(r"listening at ([^;]+);", said)
        return f"{behind_a_proxy[1]}/api/v1" if behind_a_proxy else found[1] if found else ""


def envelope(run: str, seq: int, event: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """An event as the courier sends it."""
    place = {"run": run, "attempt": 1, "segment": 1, "seq": seq, "time": 1_700_000_000.25 + seq} | changes
    return {"id": f"{run}.0a1b2c3d-{place['segment']}.{place['seq']}", **place, "event": event}

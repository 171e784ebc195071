"""How the receiver, MLflow's tracking server and Trackio are told the same metrics: their servers, and their requests.

A step of a run is five scalars. The receiver gets it as the courier's batches have it, MLflow as `log-batch` (1000
metrics in a request at most: 200 steps), Trackio as the `bulk_log` that its own client sends.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from measuring import clean_environment, wait_until

MOST_STEPS = 200
BEGAN = 1_700_000_000
_TOKEN = "load-of-the-receiver"  # noqa: S105 - of a server that lives for a minute
_JSON = {"Content-Type": "application/json"}


def metrics_of(run: int, step: int) -> dict[str, float]:
    """The five scalars of a step: the same for whoever asks."""
    return {f"train/metric_{place}": ((run * 7919 + step) * 5 + place) % 1_000_003 / 1_000_003 for place in range(5)}


@dataclass(frozen=True)
class Connection:
    """One sender's connection, which is kept."""

    http: HTTPConnection
    base: str = ""
    headers: dict[str, str] = field(default_factory=lambda: dict(_JSON))

    def post(self, path: str, content: Any) -> Any:
        """The JSON of the answer; None if it is no 200."""
        try:
            self.http.request("POST", self.base + path, json.dumps(content, separators=(",", ":")), self.headers)
            answer = self.http.getresponse()
            body = answer.read()
        except OSError:
            self.http.close()  # the next request opens it anew
            return None
        return json.loads(body) if answer.status == 200 else None


class Dialect(Protocol):
    """A tracker's own way to be told. `begin` returns what `tell` knows a run by; `tell`, how many steps are taken."""

    def connect(self, url: str) -> Connection: ...  # noqa: D102 - above

    def begin(self, to: Connection, run: int) -> str: ...  # noqa: D102 - above

    def tell(self, to: Connection, run: int, name: str, steps: Sequence[int]) -> int: ...  # noqa: D102 - above


class Ours:
    """The protocol trainer-hooks/1, event by event as the courier encodes it."""

    def connect(self, url: str) -> Connection:
        """`url` is what CALLBACK_URL would be."""
        return _connection(url)

    def begin(self, to: Connection, run: int) -> str:  # noqa: ARG002 - nothing is asked of the server
        """Nothing is to be made first."""
        return f"load-{run}"

    def tell(self, to: Connection, run: int, name: str, steps: Sequence[int]) -> int:
        """Counted is what is acknowledged by its id."""
        events = [_event(name, run, step) for step in steps]
        answer = to.post(f"/training/jobs/{name}/events", {"events": events})
        return 0 if answer is None else len({event["id"] for event in events}.intersection(answer["stored"]))


class MLflow:
    """The REST calls of MLflow's client: one run each, then `log-batch`."""

    def connect(self, url: str) -> Connection:
        """`url` is the tracking URI."""
        return _connection(f"{url}/api/2.0/mlflow")

    def begin(self, to: Connection, run: int) -> str:
        """The id that the server gives the run."""
        asked = {"experiment_id": "0", "run_name": f"load-{run}", "start_time": BEGAN * 1000}
        answer = None
        while answer is None:  # its database is locked at times
            answer = to.post("/runs/create", asked)
        return str(answer["run"]["info"]["run_id"])

    def tell(self, to: Connection, run: int, name: str, steps: Sequence[int]) -> int:
        """All of them, or none."""
        metrics = [
            {"key": key, "value": value, "timestamp": (BEGAN + step) * 1000, "step": step}
            for step in steps
            for key, value in metrics_of(run, step).items()
        ]
        return 0 if to.post("/runs/log-batch", {"run_id": name, "metrics": metrics}) is None else len(steps)


class Trackio:
    """The `bulk_log` of Trackio's client."""

    def connect(self, url: str) -> Connection:
        """`url` is the server's address."""
        return _connection(url, {"X-Trackio-Write-Token": _TOKEN})

    def begin(self, to: Connection, run: int) -> str:  # noqa: ARG002 - nothing is asked of the server
        """Nothing is to be made first."""
        return f"load-{run}"

    def tell(self, to: Connection, run: int, name: str, steps: Sequence[int]) -> int:
        """All of them, or none."""
        logs = [
            {
                "project": "load",
                "run": name,
                "run_id": name,
                "metrics": metrics_of(run, step),
                "step": step,
                "config": None,
                "log_id": f"{name}-{step}",
            }
            for step in steps
        ]
        answer = to.post("/api/bulk_log", {"args": [], "kwargs": {"logs": logs, "hf_token": None}})
        return 0 if answer is None else len(steps)


DIALECTS: dict[str, Dialect] = {"the receiver": Ours(), "MLflow": MLflow(), "Trackio": Trackio()}


def installed() -> list[str]:
    """The trackers that can be measured in this environment."""
    packages = {"the receiver": "uvicorn", "MLflow": "mlflow", "Trackio": "trackio"}
    return [name for name in DIALECTS if find_spec(packages[name])]


@dataclass(frozen=True)
class Server:
    """A tracker's server process."""

    process: subprocess.Popen[bytes]
    url: str

    def memory(self) -> int:
        """The most bytes that it and its children have ever had, each by itself, together (VmHWM)."""
        return sum(_most_memory(pid) for pid in _family(self.process.pid))


@contextlib.contextmanager
def server(name: str, folder: Path) -> Iterator[Server]:
    """The tracker's server as its own command starts it, with the store that it has by default, in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    command, more, path = _commands(port, folder)[name]
    environment = clean_environment(**more)
    with (
        (folder / "server.log").open("wb") as log,
        subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log) as process,
    ):
        try:
            wait_until(lambda: _answers(port, folder, process))
            yield Server(process, f"http://127.0.0.1:{port}{path}")
        finally:
            process.terminate()


def _commands(port: int, folder: Path) -> dict[str, tuple[list[str], dict[str, str], str]]:
    python, programs = sys.executable, Path(sys.executable).parent
    return {
        "the receiver": (
            [python, "-m", "trainer_hooks.cli", "serve", "--port", str(port), "--dir", str(folder / "runs")],
            {},
            "/api/v1",
        ),
        "MLflow": ([python, "-m", "mlflow", "server", "--port", str(port)], {"HOME": str(folder)}, ""),
        "Trackio": (
            [str(programs / "trackio"), "show", "--host", "127.0.0.1"],
            {
                "TRACKIO_DIR": str(folder / "trackio"),
                "TRACKIO_WRITE_TOKEN": _TOKEN,
                "GRADIO_SERVER_PORT": str(port),
                "BROWSER": "true",
                "HOME": str(folder),
            },
            "",
        ),
    }


def _event(name: str, run: int, step: int) -> dict[str, Any]:
    event = {"type": "metrics_logged", "metrics": metrics_of(run, step), "iteration": step}
    place = {"run": name, "attempt": 1, "segment": 1, "seq": step, "time": BEGAN + step / 10}
    return {"id": f"{name}.0a1b2c3d-1.{step}", **place, "event": event}


def _connection(url: str, headers: dict[str, str] | None = None) -> Connection:
    parts = urlsplit(url)
    return Connection(HTTPConnection(parts.netloc, timeout=120), parts.path, {**_JSON, **(headers or {})})


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _answers(port: int, folder: Path, process: subprocess.Popen[bytes]) -> bool:
    if process.poll() is not None:
        raise RuntimeError((folder / "server.log").read_text()[-2000:])
    try:
        http = HTTPConnection("127.0.0.1", port, timeout=5)
        http.request("GET", "/")
        http.getresponse().read()
        http.close()
    except OSError:
        time.sleep(0.05)
        return False
    return True


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(other for child in children for other in _family(int(child)))]


def _most_memory(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    kilobytes = next((line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")), "0")
    return int(kilobytes) * 1024

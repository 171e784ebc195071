"""Runs one plan to its end, under its faults, and gathers what is left for the oracle."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from tests.chaos.baseline import compared, without_us
from tests.chaos.evidence import Arrival, Evidence, Flipped
from tests.chaos.launch import Completed, Launch
from tests.chaos.plan import Kill, Plan
from tests.chaos.weather import weather
from tests.chaos.witness import Witness
from tests.hosts.processes import is_running, with_variable
from tests.hosts.scripts import ROOT
from tests.servers.platform import PlatformServer
from tests.servers.s3 import BUCKET, S3Server, moto_server, rclone_server
from tests.servers.tcp_proxy import tcp_proxy
from tests.waiting import wait_until
from trainer_hooks.delivery import load_courier

JOB = "7"
MUTATIONS = Path(__file__).parent / "mutations"
_SYNCED_WITHIN = 240.0
_GONE_WITHIN = 30.0
_SERIAL = re.compile(rb"serial (\d+) of chaos")
_pause = threading.Event()


def survive(plan: Plan, folder: Path, mutation: str | None = None) -> Evidence:
    """Let the plan happen in that folder. A mutation breaks trainer_hooks in all of its processes."""
    without_us(plan.host)
    with contextlib.ExitStack() as open_until_judged:
        enter = open_until_judged.enter_context
        s3 = enter(moto_server() if plan.store == "moto" else rclone_server(folder / "store"))
        server = enter(PlatformServer(jobs=(JOB,), batch=plan.batch))
        platform, storage = enter(tcp_proxy(server.url)), enter(tcp_proxy(s3.url))
        server.max_events = plan.max_events
        survival = _Survival(plan, folder, _environment(plan, folder, s3, mutation))
        survival.point_at(platform.url + urlsplit(server.url).path, storage.url)
        witness = Witness(s3, survival.prefix)
        server.witness = witness.hear
        with survival.cleaned_up():
            with witness.watching():
                with weather(plan, server, platform, storage) as faults:
                    survival.live_through_all()
                survival.sync()
            survival.wait_until_alone()
            return survival.evidence(server, witness, sum(faults.values()))


def _environment(plan: Plan, folder: Path, s3: S3Server, mutation: str | None) -> dict[str, str]:
    path = os.pathsep.join([*([str(MUTATIONS)] if mutation else []), str(ROOT), os.environ.get("PYTHONPATH", "")])
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    return {
        **os.environ,
        **({"CHAOS_MUTATION": mutation} if mutation else {}),
        "PYTHONPATH": path,
        "PYTHONDONTWRITEBYTECODE": "1",
        "TMPDIR": str(folder / "tmp"),
        "CHAOS_ID": uuid.uuid4().hex,
        "TRAINER_HOOKS_DIR": str(folder / "trainer_runs"),
        "TRAINER_HOOKS_RUN_ID": f"chaos-{plan.seed}",
        "JOB_ID": JOB,
        "TRAINER_HOOKS_DELIVERY": plan.delivery,
        # Its own: all of moto's servers in a process show the same buckets.
        "TRAINER_HOOKS_STORAGE": f"s3://{BUCKET}/{uuid.uuid4().hex[:8]}",
        "INTERNAL_STORAGE_ACCESS_KEY": s3.access_key,
        "INTERNAL_STORAGE_SECRET_KEY": s3.secret_key,
        "TRAINER_HOOKS_LINGER": "2",
        "TRAINER_HOOKS_FLUSH_TIMEOUT": "2",
        "CALLBACK_RETRY_DELAY": "0.02",
    }


class _Survival:
    """A training that is killed and started again, and what is seen of it."""

    def __init__(self, plan: Plan, folder: Path, environment: dict[str, str]) -> None:
        self._plan = plan
        self._folder = folder
        self._environment = environment
        self._record = folder / "told.jsonl"
        self._run = folder / "trainer_runs" / environment["TRAINER_HOOKS_RUN_ID"]
        self._launches = 0
        self._kills = 0
        self._completed: list[Completed] = []
        self._flipped: list[Flipped] = []
        self._synced = False
        self._sync_output = ""

    def point_at(self, platform: str, storage: str) -> None:
        """Where its processes find the platform and the storage."""
        self._environment |= {"CALLBACK_URL": platform, "INTERNAL_STORAGE_ENDPOINT": storage}

    @property
    def prefix(self) -> str:
        """What its keys begin with."""
        return self._environment["TRAINER_HOOKS_STORAGE"].removeprefix(f"s3://{BUCKET}/")

    @contextlib.contextmanager
    def cleaned_up(self) -> Iterator[None]:
        """Whatever happens, no process of this survival outlives the block."""
        try:
            yield
        finally:
            for pid in self._processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def live_through_all(self) -> None:
        """Carry out every kill, and let the last attempt come to its own end."""
        launch: Launch | None = None
        for number, kill in enumerate(self._plan.kills):
            flips = number == self._plan.flip
            if launch is not None and (launch.is_over or flips):
                self._note_end(launch, killed=flips)
                launch = None
            launch = launch or self._launch(undelivered=flips)
            launch.wait_for(kill)
            if launch.is_over:
                continue
            self._strike(kill, launch, only_training=flips or self._plan.delivery == "thread")
            if launch.is_over:
                if flips:
                    self._flip_a_bit(launch.process.pid)
                launch = None
                self._rest(kill)
        if launch is None or launch.is_over:
            if launch is not None:
                self._note_end(launch)
            launch = self._launch()
        self._note_end(launch)

    def sync(self) -> None:
        """`trainer-hooks sync` until it says that all is delivered, or refused for good."""
        deadline = time.monotonic() + _SYNCED_WITHIN
        command = [sys.executable, "-m", "trainer_hooks.cli", "sync", str(self._run), "--timeout", "60"]
        while not self._synced and time.monotonic() < deadline:
            done = subprocess.run(
                command, cwd=ROOT, env=self._environment, capture_output=True, text=True, timeout=180, check=False
            )
            self._sync_output = done.stdout + done.stderr
            self._synced = done.returncode in (0, 4)
            _pause.wait(0 if self._synced else 0.2)

    def wait_until_alone(self) -> None:
        """Until every process of this survival is gone, but not for ever."""
        with contextlib.suppress(AssertionError):
            wait_until(lambda: not self._processes(), _GONE_WITHIN)

    def evidence(self, server: PlatformServer, witness: Witness, faults: int) -> Evidence:
        """Everything that the oracle may look at."""
        taken = [request for request in server.requests if request.taken and request.method == "POST"]
        arrivals = [
            Arrival(request.path, request.headers.get("Idempotency-Key"), request.json, request.body)
            for request in taken
        ]
        return Evidence(
            seed=self._plan.seed,
            host=self._plan.host,
            run=self._run,
            record=self._record,
            arrivals=arrivals,
            sightings=witness.sightings,
            mismatches=witness.mismatches,
            objects=witness.objects(),
            uploads=witness.uploads(),
            best=self._best(),
            endings=[compared(self._plan.host, one.folder, one.status, one.output) for one in self._completed],
            synced=self._synced,
            sync_output=self._sync_output,
            processes=self._processes(),
            temporary=self._temporary(),
            flipped=self._flipped,
            figures={
                "kills survived": self._kills,
                "launches": self._launches,
                "requests": len(server.requests),
                "faults": faults,
                "looks at manifests": witness.looks,
            },
        )

    def _launch(self, *, undelivered: bool = False) -> Launch:
        self._launches += 1
        environment = {**self._environment, "CHAOS_LAUNCH": str(self._launches)}
        if undelivered:
            with contextlib.suppress(AssertionError):
                wait_until(lambda: self._courier() is None, _GONE_WITHIN)
            environment["TRAINER_HOOKS_DELIVERY"] = "none"
        return Launch(self._plan, self._folder / f"launch-{self._launches}", self._record, environment)

    def _note_end(self, launch: Launch, *, killed: bool = False) -> None:
        if killed and not launch.is_over:
            self._kills += 1
            launch.process.kill()
            launch.process.wait()
        else:
            self._completed.append(launch.completed())

    def _strike(self, kill: Kill, launch: Launch, *, only_training: bool) -> None:
        def training() -> None:
            launch.process.kill()
            launch.process.wait()

        def courier() -> None:
            pid = self._courier()
            if pid is not None:
                self._kills += 1
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

        victims = [training] if only_training or kill.victim == "training" else [courier]
        if kill.victim == "both" and not only_training:
            victims = [courier, training] if kill.courier_first else [training, courier]
        self._kills += training in victims
        victims[0]()
        for victim in victims[1:]:
            _pause.wait(kill.gap)
            victim()

    def _rest(self, kill: Kill) -> None:
        if kill.pause == "short":
            _pause.wait(0.3)
        elif kill.pause == "until the courier is gone":
            with contextlib.suppress(AssertionError):
                wait_until(lambda: self._courier() is None, _GONE_WITHIN)

    def _courier(self) -> int | None:
        """The process of the courier at work, if there is one."""
        courier = load_courier(self._run)
        if courier is None or not is_running(courier.process.pid, f"trainer_hooks.courier\0{self._run}"):
            return None
        return courier.process.pid

    def _flip_a_bit(self, pid: int) -> None:
        """In a log record of the killed process, which nobody has delivered: a digit becomes another one."""
        for path in sorted((self._run / "journal").glob("*.jsonl")):
            content = bytearray(path.read_bytes())
            lines = bytes(content).split(b"\n")
            found = [line for line in lines if _SERIAL.search(line)]
            if found and json.loads(lines[0])["event"]["process"]["pid"] == pid:
                line = found[len(found) // 2]
                digit = content.index(line) + _SERIAL.search(line).end(1) - 1
                content[digit] ^= 1
                path.write_bytes(content)
                serial = int(_SERIAL.search(line)[1])
                self._flipped.append(Flipped(int(path.stem), json.loads(line)["seq"], serial))

    def _best(self) -> bytes | None:
        if self._plan.host == "loop" or not self._completed:
            return None
        host = importlib.import_module(f"tests.hosts.{self._plan.host}")
        best: bytes = host.best_checkpoint(self._completed[-1].folder).read_bytes()
        return best

    def _processes(self) -> list[int]:
        return with_variable("CHAOS_ID", self._environment["CHAOS_ID"])

    def _temporary(self) -> list[str]:
        places = [path for path in self._run.rglob("*") if path.name.startswith(".")]
        places += [path for path in (self._run / "staged").glob("*") if path not in places]
        if self._plan.host == "loop":  # a framework that is killed leaves what it leaves
            places += (self._folder / "tmp").rglob("*")
        return sorted(str(path.relative_to(self._folder)) for path in places)

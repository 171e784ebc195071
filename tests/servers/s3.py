"""S3 servers for tests, on loopback: moto in this process, rclone as a process over a folder."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import boto3.session
from botocore.config import Config
from moto.server import ThreadedMotoServer

BUCKET = "bucket"
# As our own client: botocore before 1.36 does not know the options.
_CHECKSUMS = {
    name: "when_required"
    for name in ("request_checksum_calculation", "response_checksum_validation")
    if name in Config.OPTION_DEFAULTS
}


class S3Server(NamedTuple):
    """How to reach it; `checks_credentials` tells whether it refuses wrong ones."""

    url: str
    access_key: str
    secret_key: str
    checks_credentials: bool

    @property
    def environment(self) -> dict[str, str]:
        """The variables that lead a job to it."""
        return {
            "INTERNAL_STORAGE_ENDPOINT": self.url,
            "INTERNAL_STORAGE_ACCESS_KEY": self.access_key,
            "INTERNAL_STORAGE_SECRET_KEY": self.secret_key,
        }

    def client(self) -> Any:
        """A plain boto3 client, to look at what is there."""
        return boto3.session.Session().client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name="us-east-1",
            config=Config(
                s3={"addressing_style": "path"},
                **_CHECKSUMS,
            ),
        )


@contextlib.contextmanager
def moto_server() -> Iterator[S3Server]:
    """An emulator in this process; it takes any credentials and verifies no checksum. `BUCKET` is there."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        running = S3Server(f"http://{host}:{port}", "moto-access", "moto-secret", checks_credentials=False)
        running.client().create_bucket(Bucket=BUCKET)
        yield running
    finally:
        server.stop()


@contextlib.contextmanager
def rclone_server(
    root: Path,
    *,
    access_key: str = "rclone-access",
    secret_key: str = "rclone-secret",  # noqa: S107
) -> Iterator[S3Server]:
    """`rclone serve s3` over the folder, whose directories are the buckets; `BUCKET` is there."""
    (root / BUCKET).mkdir(parents=True, exist_ok=True)
    port = free_port()
    command = [str(Path(sys.executable).with_name("rclone")), "serve", "s3", str(root)]
    command += ["--addr", f"127.0.0.1:{port}", "--auth-key", f"{access_key},{secret_key}", "--config", ""]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for_port(port, process)
        yield S3Server(f"http://127.0.0.1:{port}", access_key, secret_key, checks_credentials=True)
    finally:
        process.terminate()
        process.wait(timeout=10)


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def wait_for_port(port: int, process: subprocess.Popen[bytes], *, seconds: float = 20) -> None:
    """Return when something listens there.

    Raises:
        RuntimeError: when the process has ended, or time is up.
    """
    pause = threading.Event()
    for _ in range(int(seconds / 0.05)):
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        pause.wait(0.05)
    message = f"{process.args!r} does not listen on port {port}"
    raise RuntimeError(message)

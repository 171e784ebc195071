"""The stores that the contract is tested on: a directory, and S3 on moto, on rclone, and with `--ceph` on Ceph."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.servers.ceph import ceph_server
from tests.servers.s3 import BUCKET, S3Server, moto_server, rclone_server
from tests.servers.tcp_proxy import TcpProxy
from trainer_hooks.storage import Storage, open_storage, s3
from trainer_hooks.storage.s3.calls import Calls
from trainer_hooks.storage.s3.client import BucketCalls, connect

MIB = 1 << 20
# AWS, Ceph and moto ask this much of all parts but the last.
SMALLEST_PART = {"moto": 5 * MIB, "ceph": 5 * MIB, "rclone": 1 * MIB}


class Place(NamedTuple):
    """Where a store is; everything in it is the test's own."""

    kind: str
    uri: str
    server: S3Server | None
    folder: Path | None  # where its files lie, if it is a directory

    def open(self) -> Storage:
        if self.server is None:
            return open_storage(self.uri)
        return open_storage(
            self.uri,
            endpoint=self.server.url,
            access_key=self.server.access_key,
            secret_key=self.server.secret_key,
        )

    def fill(self, names: list[str]) -> None:
        """Put a tiny object under each name, by the fastest way there is."""
        if self.folder is not None:
            for name in names:
                path = self.folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"1")
            return
        store = self.open()
        # rclone makes a folder of a prefix, and fails now and then where several are the first to need it.
        store.put_bytes(b"1", names[0])
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda name: store.put_bytes(b"1", name), names[1:]))


class Bucket(NamedTuple):
    """An S3 store behind a proxy, with small parts; `prefix` is the test's own."""

    server: S3Server
    prefix: str
    proxy: TcpProxy
    calls: Calls
    part_size: int

    def open(self, *, part_size: int | None = None, workers: int = 2) -> s3.S3Storage:
        size = part_size or self.part_size
        return s3.S3Storage(self.calls, BUCKET, f"{self.prefix}/", part_size=size, workers=workers)

    def unfinished(self) -> list[str]:
        """The keys of all unfinished uploads of this test."""
        found = self.server.client().list_multipart_uploads(Bucket=BUCKET, Prefix=self.prefix)
        return [upload["Key"] for upload in found.get("Uploads", ())]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--ceph", action="store_true", help="test the storage on a real Ceph, too")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    servers = ["moto", "rclone", *(["ceph"] if metafunc.config.getoption("--ceph", default=False) else [])]
    if "kind" in metafunc.fixturenames:
        metafunc.parametrize("kind", ["local", *servers])
    if "server_kind" in metafunc.fixturenames:
        metafunc.parametrize("server_kind", servers)


@pytest.fixture(scope="session")
def moto() -> Iterator[S3Server]:
    with moto_server() as server:
        yield server


@pytest.fixture(scope="session")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with rclone_server(tmp_path_factory.mktemp("rclone")) as server:
        yield server


@pytest.fixture(scope="session")
def ceph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with ceph_server(tmp_path_factory.mktemp("ceph")) as server:
        yield server


@pytest.fixture(scope="session")
def shared() -> Iterator[dict[str, tuple[TcpProxy, Calls]]]:
    """One proxy and one client per server: making a client takes longer than most tests."""
    made: dict[str, tuple[TcpProxy, Calls]] = {}
    yield made
    for proxy, _ in made.values():
        proxy.close()


@pytest.fixture
def place(request: pytest.FixtureRequest, kind: str, tmp_path: Path) -> Place:
    if kind == "local":
        return Place(kind, (tmp_path / "store").as_uri(), None, tmp_path / "store")
    return Place(kind, f"s3://{BUCKET}/pre fix/{uuid.uuid4().hex}", request.getfixturevalue(kind), None)


@pytest.fixture
def store(place: Place, shared: dict[str, tuple[TcpProxy, Calls]]) -> Storage:
    if place.server is None:
        return place.open()
    _, calls = _shared(shared, place.kind, place.server)
    prefix = place.uri.removeprefix(f"s3://{BUCKET}/") + "/"
    return s3.S3Storage(calls, BUCKET, prefix, part_size=SMALLEST_PART[place.kind], workers=2)


@pytest.fixture
def bucket(request: pytest.FixtureRequest, server_kind: str, shared: dict[str, tuple[TcpProxy, Calls]]) -> Bucket:
    server: S3Server = request.getfixturevalue(server_kind)
    proxy, calls = _shared(shared, server_kind, server)
    return Bucket(server, uuid.uuid4().hex, proxy, calls, SMALLEST_PART[server_kind])


def _shared(made: dict[str, tuple[TcpProxy, Calls]], kind: str, server: S3Server) -> tuple[TcpProxy, Calls]:
    if kind not in made:
        proxy = TcpProxy.before(server.url)
        client = connect(proxy.url, server.access_key, server.secret_key)
        made[kind] = proxy, BucketCalls(client, BUCKET)
    made[kind][0].reset()
    return made[kind]


@pytest.fixture
def source(tmp_path: Path, bucket: Bucket) -> Path:
    """A file of three and a half of the smallest parts."""
    return written(tmp_path / "source.pt", 3 * bucket.part_size + bucket.part_size // 2)


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    names = {thread.name for thread in set(threading.enumerate()) - before}
    assert not {name for name in names if name.startswith("s3-")}


def written(path: Path, size: int) -> Path:
    path.write_bytes(os.urandom(size))
    return path


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())

"""A dataset of many small images from S3: ours beside predecessor B's way and beside boto3 tuned by hand, in turn.

    python benchmarks/dataset_fetch.py

The server is a fake in a process of its own, which answers each GET after 30 ms, as a server elsewhere does. The others
only download. Ours is measured as `fetch`, as a job calls it, with the listing, the manifest and the rename; and as the
download alone, with two checksums. A hit is measured too: how long `fetch` takes for what is in the cache already.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import boto3.session
from botocore.config import Config
from measuring import Row, main, rotated, with_range

sys.path.insert(0, str(Path(__file__).parents[1]))

from trainer_hooks import datasets
from trainer_hooks.datasets.caching.manifest import FileRecord
from trainer_hooks.datasets.fetching.downloads import Download, Wanted
from trainer_hooks.settings import Settings
from trainer_hooks.storage import open_storage

IMAGES, SIZE = 2000, 100_000
FIRST_BYTE = 0.03
ROUNDS = 5
HIT_ROUNDS = 9
THREADS = 32
PAGE = 1000
OURS = "fetch"
ALONE = "its download alone"
B = "download_file, 8 threads, pool 10 (predecessor B)"
TUNED = "get_object, 32 threads, pool 32"


def measure(folder: Path) -> Iterator[Row]:
    """Downloads at 30 ms to the first byte, then hits."""
    with _server(folder) as url:
        yield from _downloads(folder, url)
    for count in (2000, 20_000, 200_000):
        yield _hit(folder / f"hits-{count}", count)


def _downloads(folder: Path, url: str) -> Iterator[Row]:
    keys = [_image(number) for number in range(IMAGES)]
    cases: dict[str, Callable[[Path], object]] = {
        OURS: lambda target: _fetched(url, target),
        ALONE: lambda target: _downloaded(url, keys, target),
        TUNED: lambda target: _with_get_object(_client(url, THREADS), keys, target),
        B: lambda target: _with_download_file(_client(url, 10), keys, target),
    }
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(ROUNDS):
        for name, case in rotated(cases, number):
            target = folder / "target"
            begun = time.perf_counter()
            case(target)
            seconds[name].append(time.perf_counter() - begun)
            _remove(target)
    what = f"{IMAGES} images of {SIZE // 1000} kB at {FIRST_BYTE * 1000:.0f} ms first byte (images/s)"
    for own, other, least in ((OURS, B, 4.0), (ALONE, TUNED, 0.95), (OURS, TUNED, None)):
        ratio = statistics.median(theirs / ours for ours, theirs in zip(seconds[own], seconds[other], strict=True))
        rates = {name: IMAGES / statistics.median(seconds[name]) for name in (own, other)}
        measured = f"{ratio:.2f} x in pairs: {rates[own]:.0f}, {other} {rates[other]:.0f}"
        budget, kept = (f"≥ {least:g} x", ratio >= least) if least else ("", None)
        yield Row(f"{own} of {what}, beside {other.partition(',')[0]}", measured, budget, kept)


def _hit(folder: Path, count: int) -> Row:
    images = folder / "store/datasets/ds/images"
    images.mkdir(parents=True)
    for number in range(count):
        (images / f"{number}.jpg").write_bytes(b"%d" % number)
    names = [{"id": number, "file_name": f"{number}.jpg"} for number in range(count)]
    annotations = json.dumps({"images": names}).encode()
    (images.parent / "annotations.json").write_bytes(annotations)
    version = hashlib.sha256(annotations).hexdigest()
    storage = (folder / "store").as_uri()
    settings = Settings.load(environ={}, dataset_storage=storage, dataset_cache=str(folder / "cache"))
    seconds = []
    for _ in range(HIT_ROUNDS + 1):
        begun = time.perf_counter()
        datasets.fetch("ds", version_hash=version, settings=settings).release()
        seconds.append(time.perf_counter() - begun)
    _remove(folder)
    return Row(f"a hit, {count:,} images", with_range(seconds[1:], "ms", 1000))


def _fetched(url: str, target: Path) -> None:
    settings = Settings.load(
        environ={},
        dataset_storage="s3://bucket",
        dataset_endpoint=url,
        dataset_access_key="access",
        dataset_secret_key="secret",  # noqa: S106
        dataset_cache=str(target),
    )
    found = datasets.fetch("ds", settings=settings)
    if found.files != IMAGES + 1:
        message = f"{found.files} files came"
        raise RuntimeError(message)
    found.release()


def _downloaded(url: str, keys: list[str], target: Path) -> None:
    storage = open_storage("s3://bucket", endpoint=url, access_key="access", secret_key="secret")  # noqa: S106
    records: list[FileRecord] = []
    Download(target, records.append).run(Wanted(storage, key, key, SIZE, 0.0) for key in keys)
    if len(records) != len(keys):
        message = f"{len(records)} files came"
        raise RuntimeError(message)


def _client(url: str, connections: int) -> Any:
    config = Config(max_pool_connections=connections, s3={"addressing_style": "path"})
    keys = {"aws_access_key_id": "access", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    return boto3.session.Session().client("s3", endpoint_url=url, config=config, **keys)


def _with_get_object(client: Any, keys: list[str], target: Path) -> None:
    target.mkdir()

    def get(key: str) -> None:
        body = client.get_object(Bucket="bucket", Key=key)["Body"]
        (target / key.rpartition("/")[2]).write_bytes(body.read())

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(get, keys))


def _with_download_file(client: Any, keys: list[str], target: Path) -> None:
    target.mkdir()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: client.download_file("bucket", key, str(target / key.rpartition("/")[2])), keys))


def _remove(folder: Path) -> None:
    for inner, _, _ in os.walk(folder):
        Path(inner).chmod(0o700)
    shutil.rmtree(folder)


def _image(number: int) -> str:
    return f"datasets/ds/images/{number:05}.jpg"


# --- the server -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _server(folder: Path) -> Iterator[str]:
    port = folder / "port"
    with subprocess.Popen([sys.executable, __file__, "--serve", str(port)]) as server:
        try:
            while not port.exists() or not port.read_text():
                time.sleep(0.01)
            yield f"http://127.0.0.1:{port.read_text()}"
        finally:
            server.terminate()


class _FakeS3:
    """As much of S3 as a download needs: GET (with ranges), HEAD, and the listing of a prefix in pages."""

    def __init__(self) -> None:
        self._image = os.urandom(SIZE)
        named = [{"id": number, "file_name": f"{number:05}.jpg"} for number in range(IMAGES)]
        self._annotations = json.dumps({"images": named}).encode()
        self._keys = ["datasets/ds/annotations.json", *(_image(number) for number in range(IMAGES))]
        self._etags = {content: hashlib.md5(content).hexdigest() for content in (self._image, self._annotations)}  # noqa: S324

    async def serve(self, port: Path) -> None:
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0, backlog=256)
        port.write_text(  # noqa: ASYNC240 - before it serves anybody
            str(server.sockets[0].getsockname()[1])
        )
        await server.serve_forever()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                method, target, _ = head[0].split()
                given = dict(line.lower().split(": ", 1) for line in head[1:] if ": " in line)
                await asyncio.sleep(FIRST_BYTE)
                for piece in self._answer(method, target, given.get("range")):
                    writer.write(piece)
                await writer.drain()
        writer.close()

    def _answer(self, method: str, target: str, asked: str | None) -> tuple[bytes, ...]:
        parts = urlsplit(target)
        key = unquote(parts.path).removeprefix("/bucket").removeprefix("/")
        if not key:
            listing = self._listing({name: values[0] for name, values in parse_qs(parts.query).items()})
            return _head("200 OK", len(listing), "x"), listing
        content = self._annotations if key.endswith(".json") else self._image
        status, more = "200 OK", ""
        if asked:
            end = min(int(asked.rpartition("-")[2]), len(content) - 1)
            status, more = "206 Partial Content", f"Content-Range: bytes 0-{end}/{len(content)}\r\n"
        head = _head(status, len(content), self._etags[content], more)
        return (head,) if method == "HEAD" else (head, content)

    def _listing(self, asked: dict[str, str]) -> bytes:
        found = [key for key in self._keys if key.startswith(asked.get("prefix", ""))]
        start = int(asked.get("continuation-token", "0"))
        page, more = found[start : start + PAGE], start + PAGE < len(found)
        sizes = {True: len(self._annotations), False: SIZE}
        entries = "".join(
            f"<Contents><Key>{key}</Key><Size>{sizes[key.endswith('.json')]}</Size>"
            "<LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>x</ETag></Contents>"
            for key in page
        )
        following = f"<NextContinuationToken>{start + PAGE}</NextContinuationToken>" if more else ""
        told = f"<IsTruncated>{str(more).lower()}</IsTruncated>{following}<KeyCount>{len(page)}</KeyCount>"
        return f"<ListBucketResult>{told}{entries}</ListBucketResult>".encode()


def _head(status: str, length: int, etag: str, more: str = "") -> bytes:
    lines = f'Content-Length: {length}\r\nETag: "{etag}"\r\nAccept-Ranges: bytes\r\n{more}'
    modified = f"Last-Modified: {formatdate(1_760_000_000, usegmt=True)}\r\n"
    return f"HTTP/1.1 {status}\r\n{lines}{modified}\r\n".encode()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        asyncio.run(_FakeS3().serve(Path(sys.argv[2])))
    else:
        main(measure)

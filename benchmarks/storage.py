"""The S3 store beside boto3's own transfers, tuned by hand: the same files, in turn, against one server.

    python benchmarks/storage.py        against `rclone serve s3`, started here

With BENCHMARK_S3_ENDPOINT=http://host:9000 another server is used, and there the bucket "bucket" and the keys of
INTERNAL_STORAGE_ACCESS_KEY and INTERNAL_STORAGE_SECRET_KEY.

Ours compares the MD5 of every part with what the server has stored. boto3 verifies nothing of an upload unless told to;
then it sends a checksum that the server is to check, CRC-32 or SHA-256. So uploads are compared with all three.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from boto3.s3.transfer import TransferConfig
from measuring import Row, main, rotated

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.servers.s3 import BUCKET, S3Server, rclone_server
from trainer_hooks.storage import open_storage

MIB = 1 << 20
MEGABYTES = 200
SMALL_COUNT, SMALL_SIZE = 300, 50_000
ROUNDS = 7
OURS = "trainer_hooks"
AT_LEAST = 0.95
TUNED = {
    "boto3 default": TransferConfig(),
    "boto3 without threads": TransferConfig(use_threads=False),
    "boto3 one request": TransferConfig(multipart_threshold=1 << 40),
    "boto3 16 MiB x 4": TransferConfig(multipart_threshold=MIB, multipart_chunksize=16 * MIB, max_concurrency=4),
    "boto3 32 MiB x 2": TransferConfig(
        multipart_threshold=MIB, multipart_chunksize=32 * MIB, max_concurrency=2, io_chunksize=MIB
    ),
}
CHECKED = "SHA256"

Case = Callable[[], object]


def measure(folder: Path) -> Iterator[Row]:
    """Large and small objects, up and down."""
    with ExitStack() as stack:
        server = _given() or stack.enter_context(rclone_server(folder / "server"))
        benchmark = Benchmark(server, BUCKET, folder)
        benchmark.large.write_bytes(os.urandom(MEGABYTES * 1_000_000))
        uploads = measured(benchmark.uploads())
        large = f"of {MEGABYTES} MB (MB/s)"
        yield _row(f"upload {large}, beside boto3 with {CHECKED}", _only(uploads, CHECKED), MEGABYTES, AT_LEAST)
        yield _row(f"upload {large}, beside boto3 with CRC32", _only(uploads, "CRC32"), MEGABYTES)
        yield _row(f"upload {large}, beside boto3 that verifies nothing", _only(uploads, ""), MEGABYTES)
        yield _row(f"download {large}", measured(benchmark.downloads()), MEGABYTES, AT_LEAST)
        small = f"of {SMALL_COUNT} small objects, 8 threads (objects/s)"
        puts, gets = benchmark.small(SMALL_COUNT)
        yield _row(f"upload {small}", measured(puts), SMALL_COUNT, AT_LEAST)
        found = measured(gets)
        bare = "a bare get_object"
        yield _row(f"download {small}", _without(found, bare), SMALL_COUNT, AT_LEAST)
        yield _row(f"download {small}, beside {bare}", {OURS: found[OURS], bare: found[bare]}, SMALL_COUNT)


class Benchmark:
    """The cases; each does the same work by other means."""

    def __init__(self, server: S3Server, bucket: str, folder: Path) -> None:
        self._bucket = bucket
        self._folder = folder
        self._client = server.client()
        keys = {"access_key": server.access_key, "secret_key": server.secret_key}
        self._store = open_storage(f"s3://{bucket}", endpoint=server.url, **keys)
        self.large = folder / "large"
        self.target = folder / "target"

    def uploads(self) -> dict[str, Case]:
        """One large file, as checkpoints are put; boto3's without a checksum, and with two of those it knows."""

        def upload(config: TransferConfig, **checked: str) -> None:
            self._client.upload_file(str(self.large), self._bucket, "large-boto3", Config=config, ExtraArgs=checked)

        cases: dict[str, Case] = {OURS: partial(self._store.put, self.large, "large", before_visible=lambda: None)}
        for name, config in TUNED.items():
            cases[name] = partial(upload, config)
            for algorithm in ("CRC32", CHECKED):
                cases[f"{name}, {algorithm}"] = partial(upload, config, ChecksumAlgorithm=algorithm)
        return cases

    def downloads(self) -> dict[str, Case]:
        """That object again."""

        def download(config: TransferConfig) -> None:
            self._client.download_file(self._bucket, "large", str(self.target), Config=config)

        ours = partial(self._store.get, "large", self.target)
        return {OURS: ours, **{name: partial(download, config) for name, config in TUNED.items()}}

    def small(self, count: int) -> tuple[dict[str, Case], dict[str, Case]]:
        """Many small objects, as of a dataset, in threads of the caller's: up, and down."""
        sources = [self._folder / f"small{number}" for number in range(count)]
        for source in sources:
            source.write_bytes(os.urandom(SMALL_SIZE))
        without_threads = TransferConfig(use_threads=False)

        def put_object(source: Path) -> None:
            self._client.put_object(Bucket=self._bucket, Key=f"boto3/{source.name}", Body=source.read_bytes())

        def upload_file(source: Path) -> None:
            self._client.upload_file(str(source), self._bucket, f"boto3/{source.name}", Config=without_threads)

        def get_object(source: Path) -> None:
            body = self._client.get_object(Bucket=self._bucket, Key=f"ours/{source.name}")["Body"]
            self._target(source).write_bytes(body.read())

        def download_file(source: Path) -> None:
            key, target = f"ours/{source.name}", str(self._target(source))
            self._client.download_file(self._bucket, key, target, Config=without_threads)

        puts: dict[str, Callable[[Path], object]] = {
            OURS: lambda source: self._store.put(source, f"ours/{source.name}"),
            "boto3 put_object": put_object,
            "boto3 upload_file": upload_file,
        }
        gets: dict[str, Callable[[Path], object]] = {
            OURS: lambda source: self._store.get(f"ours/{source.name}", self._target(source)),
            # Neither verified nor put in place at one instant, as ours and download_file's are.
            "a bare get_object": get_object,
            "boto3 download_file": download_file,
        }
        up, down = ({by: partial(_in_eight_threads, do, sources) for by, do in cases.items()} for cases in (puts, gets))
        return up, down

    def _target(self, source: Path) -> Path:
        return source.with_suffix(".got")


def measured(cases: Mapping[str, Case]) -> dict[str, list[float]]:
    """Seconds of each case in each round, after one round that doesn't count."""
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(ROUNDS + 1):
        for name, case in rotated(cases, number):
            begun = time.perf_counter()
            case()
            if number:
                seconds[name].append(time.perf_counter() - begun)
    return seconds


def _row(what: str, seconds: Mapping[str, list[float]], amount: float, at_least: float | None = None) -> Row:
    """Ours over the best of the others: by medians, and as the median of the ratios within the rounds.

    A machine that is busy in between disturbs the second less.
    """
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    best = min((name for name in medians if name != OURS), key=lambda name: medians[name])
    ratio = medians[best] / medians[OURS]
    pairs = statistics.median(theirs / ours for ours, theirs in zip(seconds[OURS], seconds[best], strict=True))
    rates = f"{amount / medians[OURS]:.0f}, {best} {amount / medians[best]:.0f}"
    text = f"{ratio:.2f} x, in pairs {pairs:.2f} x: {rates}"
    return Row(what, text, f"≥ {at_least} x" if at_least else "", max(ratio, pairs) >= at_least if at_least else None)


def _only(uploads: Mapping[str, list[float]], algorithm: str) -> dict[str, list[float]]:
    return {name: times for name, times in uploads.items() if name == OURS or name.partition(", ")[2] == algorithm}


def _without(found: Mapping[str, list[float]], left_out: str) -> dict[str, list[float]]:
    return {name: times for name, times in found.items() if name != left_out}


def _in_eight_threads(work: Callable[[Path], Any], sources: list[Path]) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, sources))


def _given() -> S3Server | None:
    endpoint = os.environ.get("BENCHMARK_S3_ENDPOINT")
    if endpoint is None:
        return None
    access_key, secret_key = (os.environ[f"INTERNAL_STORAGE_{name}_KEY"] for name in ("ACCESS", "SECRET"))
    return S3Server(endpoint, access_key, secret_key, checks_credentials=True)


if __name__ == "__main__":
    main(measure)

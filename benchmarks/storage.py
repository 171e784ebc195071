"""The S3 store beside boto3's own transfers, tuned by hand: the same files, in turn, against one server.

    python benchmarks/storage.py                                 against `rclone serve s3`, started here
    python benchmarks/storage.py --endpoint http://host:9000     keys from INTERNAL_STORAGE_ACCESS_KEY, …_SECRET_KEY

Prints the median rate of each, and ours over the best of the others: once by medians, once as the median of the ratios
of runs that stood side by side, which a machine that is busy in between disturbs less.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from boto3.s3.transfer import TransferConfig

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.servers.s3 import S3Server, rclone_server
from trainer_hooks.storage import open_storage

MIB = 1 << 20
OURS = "trainer_hooks"
SMALL_SIZE = 50_000
TUNED = {
    "boto3 default": TransferConfig(),
    "boto3 without threads": TransferConfig(use_threads=False),
    "boto3 one request": TransferConfig(multipart_threshold=1 << 40),
    "boto3 16 MiB x 4": TransferConfig(multipart_threshold=MIB, multipart_chunksize=16 * MIB, max_concurrency=4),
    "boto3 32 MiB x 2": TransferConfig(
        multipart_threshold=MIB, multipart_chunksize=32 * MIB, max_concurrency=2, io_chunksize=MIB
    ),
}

Case = Callable[[], object]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--endpoint", help="an S3 server; without it rclone is started")
    parser.add_argument("--bucket", default="bucket", help="a bucket there, that may be written to")
    parser.add_argument("--size", type=int, default=200, help="MB of the large object")
    parser.add_argument("--count", type=int, default=300, help="how many small objects, of 50 kB each")
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = _given(given.endpoint) or stack.enter_context(rclone_server(folder / "server"))
        benchmark = Benchmark(server, given.bucket, folder)
        print(f"{given.rounds} rounds against {server.url}, one after the other within a round\n")
        megabytes = given.size
        benchmark.large.write_bytes(os.urandom(megabytes * 1_000_000))
        show(f"upload of {megabytes} MB (MB/s)", measured(benchmark.uploads(), given.rounds), megabytes)
        show(f"download of {megabytes} MB (MB/s)", measured(benchmark.downloads(), given.rounds), megabytes)
        for name, cases in benchmark.small(given.count).items():
            show(
                f"{name} of {given.count} small objects, 8 threads (objects/s)",
                measured(cases, given.rounds),
                given.count,
            )


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
        """One large file, as checkpoints are put."""

        def upload(config: TransferConfig) -> None:
            self._client.upload_file(str(self.large), self._bucket, "large-boto3", Config=config)

        ours = partial(self._store.put, self.large, "large", before_visible=lambda: None)
        return {OURS: ours, **{name: partial(upload, config) for name, config in TUNED.items()}}

    def downloads(self) -> dict[str, Case]:
        """That object again."""

        def download(config: TransferConfig) -> None:
            self._client.download_file(self._bucket, "large", str(self.target), Config=config)

        ours = partial(self._store.get, "large", self.target)
        return {OURS: ours, **{name: partial(download, config) for name, config in TUNED.items()}}

    def small(self, count: int) -> Mapping[str, dict[str, Case]]:
        """Many small objects, as of a dataset, in threads of the caller's."""
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
            "boto3 get_object": get_object,
            "boto3 download_file": download_file,
        }
        cases = {"upload": puts, "download": gets}
        return {
            name: {by: partial(_in_eight_threads, do, sources) for by, do in these.items()}
            for name, these in cases.items()
        }

    def _target(self, source: Path) -> Path:
        return source.with_suffix(".got")


def measured(cases: dict[str, Case], rounds: int) -> dict[str, list[float]]:
    """Seconds of each case in each round, after one round that doesn't count."""
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(rounds + 1):
        for name, case in _rotated(cases, number):
            begun = time.perf_counter()
            case()
            if number:
                seconds[name].append(time.perf_counter() - begun)
    return seconds


def show(title: str, seconds: dict[str, list[float]], amount: float) -> None:
    """Print the rates of `amount` per case, fastest first."""
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    print(title)
    for name, median in sorted(medians.items(), key=lambda item: item[1]):
        pairs = statistics.median(theirs / ours for ours, theirs in zip(seconds[OURS], seconds[name], strict=True))
        print(
            f"  {name:24}{amount / median:9.0f}   ours is {medians[name] / medians[OURS]:.2f} x, in pairs {pairs:.2f} x"
        )
    best = min(median for name, median in medians.items() if name != OURS)
    print(f"  ours over the best of boto3: {best / medians[OURS]:.2f} x\n")


def _rotated(cases: dict[str, Case], by: int) -> Iterator[tuple[str, Case]]:
    items = list(cases.items())
    start = by % len(items)
    yield from items[start:] + items[:start]


def _in_eight_threads(work: Callable[[Path], Any], sources: list[Path]) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, sources))


def _given(endpoint: str | None) -> S3Server | None:
    if endpoint is None:
        return None
    access_key, secret_key = (os.environ[f"INTERNAL_STORAGE_{name}_KEY"] for name in ("ACCESS", "SECRET"))
    return S3Server(endpoint, access_key, secret_key, checks_credentials=True)


if __name__ == "__main__":
    main()

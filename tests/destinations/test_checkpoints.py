"""Checkpoints in real storage: whole, never described wrongly, and the same after any interruption."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import json
import tarfile
import threading
import uuid
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from tests.servers.s3 import BUCKET, moto_server, rclone_server
from tests.servers.tcp_proxy import tcp_proxy
from trainer_hooks.destinations import Context
from trainer_hooks.destinations.checkpoints import Checkpoints, open_destination
from trainer_hooks.errors import ObjectMissing, RetryLater, StorageError, StorageRefused
from trainer_hooks.events import CheckpointSaved, CheckpointStored, Record
from trainer_hooks.journal import Journal, read_records
from trainer_hooks.settings import Settings
from trainer_hooks.storage import open_storage

JOB = "job-7"
DEADLINE = 30


class Killed(BaseException):
    """The courier dies here: no code of ours may catch it."""


class Run:
    """A run directory with a real journal, and a courier's part in it."""

    def __init__(self, directory, job=JOB):
        self.directory = directory
        self.job = job
        self.training = Journal(directory, run="r1", attempt=1, writer="training", job=job)
        self.courier = Journal(directory, run="r1", attempt=1, writer="courier", job=job)
        (directory / "staged").mkdir()
        self.count = 0
        self.emit = self.courier.append
        self.stopping = threading.Event()

    def save(self, content, names, epoch=1, *, path="weights/last.pt", **fields):
        """What an integration does when the host has saved: a private copy, and an event; returns the record."""
        self.count += 1
        staged = f"staged/{self.count:03d}{Path(path).suffix}"
        (self.directory / staged).write_bytes(content)
        event = {"size": len(content), "staged": staged, "metrics": {"fitness": 0.5}, **fields}
        self.training.append(CheckpointSaved(names=names, path=path, epoch=epoch, **event))
        return self.saved()[-1]

    def saved(self):
        return [record for record in read_records(self.directory) if isinstance(record.event, CheckpointSaved)]

    def said(self):
        """The CheckpointStored events in the journal, in order."""
        events = (record.event for record in read_records(self.directory))
        return [event for event in events if isinstance(event, CheckpointStored)]

    def context(self, **settings):
        return Context(
            run_directory=self.directory,
            run="r1",
            job=self.job,
            settings=Settings.load(environ={}, **settings),
            emit=self.emit,
            stored=lambda: {event.name: event for event in self.said()},
            stopping=self.stopping.is_set,
        )

    def deliver(self, storage, records=None, receipts=None):
        """One pass of a courier that was just started; returns the receipts, and adds each as it comes."""
        receipts = [] if receipts is None else receipts
        for some in Checkpoints(self.context(), storage).deliver(records or self.saved()):
            receipts += some
        return receipts

    def staged(self):
        return sorted(path.name for path in (self.directory / "staged").iterdir())

    def close(self):
        self.training.close()
        self.courier.close()


class Fault(NamedTuple):
    """The n-th call goes wrong: before it has any effect, or after all of it."""

    at: int
    error: BaseException
    afterwards: bool = False


class Faulty:
    """A storage that notes its calls, and in which one may go wrong."""

    def __init__(self, storage, fault=None):
        self._storage = storage
        self._fault = fault
        self.calls = []

    def __getattr__(self, name):
        call = getattr(self._storage, name)
        return call if name == "uri" else functools.partial(self._call, name, call)

    def _call(self, name, call, *args, **kwargs):
        self.calls.append(name)
        strikes = self._fault is not None and self._fault.at == len(self.calls)
        if strikes and not self._fault.afterwards:
            raise self._fault.error
        result = call(*args, **kwargs)
        if strikes:
            raise self._fault.error
        return result


@pytest.fixture
def run(tmp_path):
    run = Run(tmp_path / "run")
    yield run
    run.close()


@pytest.fixture(scope="module")
def moto():
    with moto_server() as server:
        yield server


@pytest.fixture(scope="module")
def rclone(tmp_path_factory):
    with rclone_server(tmp_path_factory.mktemp("rclone")) as server:
        yield server


@pytest.fixture
def s3_address(request):
    """The settings of an S3 store of the test's own, on the server that the parameter names."""
    server = request.getfixturevalue(getattr(request, "param", "moto"))
    return {
        "storage": f"s3://{BUCKET}/{uuid.uuid4().hex}",
        "storage_endpoint": server.url,
        "storage_access_key": server.access_key,
        "storage_secret_key": server.secret_key,
    }


@pytest.fixture(params=["local", "moto"])
def storage(request, tmp_path):
    if request.param == "local":
        return open_storage((tmp_path / "store").as_uri())
    return opened(request.getfixturevalue("s3_address"))


def opened(address, endpoint=None):
    keys = {"access_key": address["storage_access_key"], "secret_key": address["storage_secret_key"]}
    return open_storage(address["storage"], endpoint=endpoint or address["storage_endpoint"], **keys)


def checkpoint(value=1.0, size=8):
    stream = io.BytesIO()
    torch.save({"weight": torch.full((size,), value)}, stream)
    return stream.getvalue()


def key(name, suffix=".pt", job=JOB):
    return f"checkpoints/{job}/{name}{suffix}"


def manifest(storage, name, suffix=".pt"):
    return json.loads(storage.read(key(name, suffix) + ".manifest.json"))


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def content_of(storage):
    """Everything there is in it."""
    return {item.key: storage.read(item.key) for item in storage.list()}


def delivered(receipts):
    return [receipt.refused is None and not receipt.superseded for receipt in receipts]


def test_without_a_storage_setting_there_is_nothing_to_do(run):
    assert open_destination(run.context()) is None


def test_a_folder_is_stored_as_a_tar_and_its_manifest_says_so(run, storage):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        member = tarfile.TarInfo("model.pt")
        member.size = len(checkpoint())
        archive.addfile(member, io.BytesIO(checkpoint()))
        end = archive.offset
    content = stream.getvalue()
    run.save(content, ["last"], path="out/checkpoint.8", folder=True)
    run.save(content[:end], ["best"], path="out/checkpoint.8", folder=True)

    whole, torn = run.deliver(storage)

    assert whole.refused is None
    assert torn.refused.startswith("the tar has no end")
    assert storage.read(key("last", ".tar")) == content
    told = manifest(storage, "last", ".tar")
    assert (told["folder"], told["sha256"], told["size"]) == (True, sha256(content), len(content))
    assert [event.uri for event in run.said()] == [storage.uri(key("last", ".tar"))]
    assert run.staged() == []


def test_the_storage_settings_are_where_checkpoints_go(run, s3_address):
    content = checkpoint()
    run.save(content, ["last"])

    destination = open_destination(run.context(**s3_address))
    receipts = [receipt for some in destination.deliver(run.saved()) for receipt in some]
    destination.close()

    assert delivered(receipts) == [True]
    assert opened(s3_address).read(key("last")) == content


def test_a_bucket_that_is_made_later_gets_all_that_waited(run, s3_address, moto):
    late = f"late-{uuid.uuid4().hex}"
    address = {**s3_address, "storage": f"s3://{late}"}
    run.save(checkpoint(1.0), ["best"], 1)
    run.save(checkpoint(2.0), ["epoch_2"], 2)

    with pytest.raises(RetryLater) as retry:
        run.deliver(opened(address))
    moto.client().create_bucket(Bucket=late)

    assert retry.value.after == 30
    assert delivered(run.deliver(opened(address))) == [True, True]


@pytest.mark.parametrize("s3_address", ["moto", "rclone"], indirect=True)
def test_storage_that_goes_down_in_an_upload_keeps_the_old_one_until_the_new_one_is_whole(run, s3_address):
    old, new = checkpoint(1.0, size=5_000_000), checkpoint(2.0, size=5_000_000)
    direct = opened(s3_address)
    run.save(old, ["last", "best"], 1)
    run.deliver(direct)
    record = run.save(new, ["last", "best"], 2)

    with (
        tcp_proxy(s3_address["storage_endpoint"]) as proxy,
        Watcher(direct, {sha256(old), sha256(new)}, ["last"]) as watcher,
    ):
        through_proxy = opened(s3_address, proxy.url)
        proxy.cut_upstream_after = len(new) // 2
        with pytest.raises(RetryLater):
            run.deliver(through_proxy, [record])
        watcher.look_again()
        assert watcher.seen == {sha256(old)}
        assert manifest(direct, "last")["epoch"] == 1
        proxy.refuse = False
        assert delivered(run.deliver(through_proxy, [record])) == [True]
        watcher.look_again()

    assert watcher.faults == []
    assert watcher.seen == {sha256(old), sha256(new)}
    assert direct.read(key("last")) == direct.read(key("best")) == new
    assert [event.epoch for event in run.said()] == [1, 1, 2, 2]


def test_an_upload_begun_with_another_file_does_not_lend_its_name_to_this_one(run, s3_address):
    """The two end alike, so that what arrived of the first is taken over for the second."""
    first, second = (begin + b"w" * (17 << 20) for begin in (b"1", b"2"))
    given_up = run.save(first, ["last"], 1, path="last.bin")
    with tcp_proxy(s3_address["storage_endpoint"]) as proxy:
        proxy.cut_upstream_after = len(first) - (1 << 20)
        with pytest.raises(RetryLater):
            run.deliver(opened(s3_address, proxy.url), [given_up])
    replacing = run.save(second, ["last"], 2, path="last.bin")

    run.deliver(opened(s3_address), [replacing])
    run.deliver(opened(s3_address), [run.save(first, ["last"], 3, path="last.bin")])

    stored = opened(s3_address).read(key("last", ".bin"))
    assert manifest(opened(s3_address), "last", ".bin")["sha256"] == sha256(stored) == sha256(first)


def test_a_checkpoint_is_stored_with_a_manifest_and_announced(run, storage):
    content = checkpoint()
    record = run.save(content, ["last"], epoch=3)

    assert delivered(run.deliver(storage)) == [True]

    assert storage.read(key("last")) == content
    described = manifest(storage, "last")
    assert described.pop("created").startswith("20")
    assert described == {
        "format": 1,
        "key": key("last"),
        "sha256": sha256(content),
        "size": len(content),
        "epoch": 3,
        "iteration": None,
        "metrics": {"fitness": 0.5},
        "final": False,
        "run": "r1",
        "attempt": record.attempt,
        "folder": False,
    }
    assert run.said() == [
        CheckpointStored(
            name="last",
            uri=storage.uri(key("last")),
            manifest_uri=storage.uri(key("last") + ".manifest.json"),
            size=len(content),
            sha256=sha256(content),
            epoch=3,
            metrics={"fitness": 0.5},
        )
    ]
    assert run.staged() == []


def test_the_manifest_tells_when_the_host_had_saved(run, storage):
    record = run.save(checkpoint(), ["last"])

    run.deliver(storage, [Record(**{**fields_of(record), "time": 1_763_803_512.25})])

    assert manifest(storage, "last")["created"] == "2025-11-22T09:25:12.250000+00:00"


def test_one_file_under_two_names_is_sent_once(run, storage):
    content = checkpoint()
    run.save(content, ["last", "best"])
    watched = Faulty(storage)

    run.deliver(watched)

    assert storage.read(key("last")) == storage.read(key("best")) == content
    assert manifest(storage, "best")["key"] == key("best")
    assert watched.calls.count("put") == 1
    assert watched.calls.count("copy") == 1
    assert [event.name for event in run.said()] == ["last", "best"]


def test_the_hosts_suffix_is_kept(run, storage):
    run.save(b"\x08\x08onnx", ["best"], path="out/best.onnx")
    run.save(checkpoint(), ["epoch_10"], path="out/epoch10")

    run.deliver(storage)

    assert storage.read(key("best", ".onnx")) == b"\x08\x08onnx"
    assert storage.stat(key("epoch_10", ".pt"))


def test_a_job_or_name_can_not_lead_out_of_its_place(tmp_path, storage):
    run = Run(tmp_path / "other", job="../../etc")
    run.save(checkpoint(), ["..", "a/b", "주", "x" * 300])

    assert delivered(run.deliver(storage)) == [True]

    found = [item.key for item in storage.list() if not item.key.endswith(".json")]
    assert sorted(found)[:3] == [f"checkpoints/..%2F..%2Fetc/{name}.pt" for name in ("%2E%2E", "%EC%A3%BC", "a%2Fb")]
    assert found[-1].startswith("checkpoints/..%2F..%2Fetc/xxxx")
    run.close()


def test_a_newer_last_replaces_all_waiting_ones_before_anything_is_sent(run, storage):
    newest = checkpoint(4.0)
    for epoch, content in enumerate([checkpoint(1.0), checkpoint(2.0), checkpoint(3.0), newest], 1):
        run.save(content, ["last"], epoch)
    down = Faulty(storage, Fault(1, StorageError("down")))

    with pytest.raises(RetryLater):
        run.deliver(down)
    assert run.staged() == ["004.pt"]
    receipts = run.deliver(storage)

    assert [receipt.superseded for receipt in receipts] == [True, True, True, False]
    assert storage.read(key("last")) == newest
    assert [event.epoch for event in run.said()] == [4]


def test_a_best_is_stored_though_its_last_is_replaced(run, storage):
    best = checkpoint(1.0)
    run.save(best, ["last", "best"], 1)
    run.save(checkpoint(2.0), ["last"], 2)

    receipts = run.deliver(storage)

    assert delivered(receipts) == [True, True]
    assert storage.read(key("best")) == best
    assert manifest(storage, "last")["epoch"] == 2
    assert [(event.name, event.epoch) for event in run.said()] == [("best", 1), ("last", 2)]


def test_best_epochs_and_final_weights_are_never_given_up(run, storage):
    run.save(checkpoint(1.0), ["best"], 1)
    run.save(checkpoint(2.0), ["epoch_2"], 2)
    run.save(checkpoint(3.0), ["last"], 3, final=True)
    run.save(checkpoint(4.0), ["best"], 4)
    run.save(checkpoint(5.0), ["last"], 5)

    receipts = run.deliver(storage)

    assert delivered(receipts) == [True] * 5
    assert [event.epoch for event in run.said()] == [1, 2, 3, 4, 5]
    assert run.staged() == []


def test_a_damaged_newer_last_does_not_cost_the_whole_older_one(run, storage):
    older = checkpoint(1.0)
    run.save(older, ["last"], 1)
    run.save(checkpoint(2.0)[:-1], ["last"], 2)

    receipts = run.deliver(storage)

    assert delivered(receipts) == [True, False]
    assert receipts[1].refused.startswith("the zip container is damaged")
    assert storage.read(key("last")) == older
    assert run.staged() == []


def test_a_file_that_changed_its_size_is_refused(run, storage):
    run.save(checkpoint(), ["last"], size=12)

    (receipt,) = run.deliver(storage)

    assert receipt.refused == f"its private copy has {len(checkpoint())} bytes, and the checkpoint had 12"
    assert content_of(storage) == {}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"staged": None}, "no private copy of it was made"),
        ({"names": []}, "no name"),
        ({"staged": "staged/../precious.pt"}, "should be in the run's folder"),
        ({"staged": "staged"}, "should be in the run's folder"),
        ({"staged": "staged/link.pt"}, "should be in the run's folder"),
        ({"staged": "staged/folder"}, "a directory"),
        ({"staged": "staged/gone.pt"}, "gone before it was stored"),
    ],
)
def test_what_can_not_be_stored_is_refused_with_its_reason(run, storage, fields, reason):
    precious = run.directory / "precious.pt"
    precious.write_bytes(checkpoint())
    (run.directory / "staged" / "link.pt").symlink_to(precious)
    (run.directory / "staged" / "folder").mkdir()
    event = {"names": ["last"], "path": "last.pt", "size": len(checkpoint()), "staged": "staged/x", **fields}
    run.training.append(CheckpointSaved(**event))

    (receipt,) = run.deliver(storage)

    assert reason in receipt.refused
    assert content_of(storage) == {}
    assert run.said() == []
    assert precious.exists()


@pytest.mark.parametrize("error", [StorageError("the network is down"), OSError(5, "Input/output error")])
def test_trouble_on_the_way_is_tried_again(run, storage, error):
    run.save(checkpoint(), ["last"])

    with pytest.raises(RetryLater) as retry:
        run.deliver(Faulty(storage, Fault(1, error)))

    assert retry.value.after is None
    assert str(error) in str(retry.value)
    assert delivered(run.deliver(storage)) == [True]


def test_a_refusal_by_storage_is_tried_again_since_people_mend_it(run, storage):
    run.save(checkpoint(), ["last"])

    with pytest.raises(RetryLater, match="no such bucket") as retry:
        run.deliver(Faulty(storage, Fault(1, StorageRefused("no such bucket"))))

    assert retry.value.after == 30
    assert run.staged() == ["001.pt"]


def test_what_was_certain_before_the_trouble_stays_delivered(run, storage):
    first = run.save(checkpoint(1.0), ["epoch_1"], 1)
    undisturbed = Faulty(storage)
    run.deliver(undisturbed, [first])
    run.save(checkpoint(2.0), ["epoch_2"], 2)
    run.save(checkpoint(3.0), ["epoch_3"], 3)
    receipts = []

    faulty = Faulty(storage, Fault(len(undisturbed.calls) + 1, StorageError("down")))
    with pytest.raises(RetryLater):
        run.deliver(faulty, run.saved()[1:], receipts)

    assert delivered(receipts) == [True]
    assert run.staged() == ["003.pt"]


def test_a_courier_that_wants_to_end_begins_nothing_new(run, storage):
    run.save(checkpoint(), ["epoch_1"])
    run.stopping.set()

    with pytest.raises(RetryLater, match="stopping"):
        run.deliver(storage)

    assert content_of(storage) == {}


def test_a_private_copy_that_changed_between_two_tries_is_looked_at_again(run, storage):
    record = run.save(checkpoint(), ["best"])
    destination = Checkpoints(run.context(), Faulty(storage, Fault(1, StorageError("down"))))
    with pytest.raises(RetryLater):
        list(destination.deliver([record]))
    (run.directory / record.event.staged).write_bytes(bytes(record.event.size))

    ((receipt,),) = destination.deliver([record])

    assert "zeros" in receipt.refused
    assert content_of(storage) == {}


@pytest.mark.parametrize("error", [Killed(), StorageError("lost")], ids=["death", "error"])
@pytest.mark.parametrize("afterwards", [False, True], ids=["before", "after"])
def test_whatever_call_of_storage_goes_wrong_a_second_pass_ends_the_same(tmp_path, error, afterwards):
    expected, calls = outcome(tmp_path / "undisturbed")

    assert {"put", "copy", "put_bytes", "delete"} <= set(calls)
    for at in range(1, len(calls) + 1):
        found, _ = outcome(tmp_path / f"{at}", Fault(at, error, afterwards))
        assert found == expected, f"call {at}, {calls[at - 1]}"


@pytest.mark.parametrize("afterwards", [False, True], ids=["before", "after"])
def test_a_death_while_it_is_announced_leaves_it_announced_once(run, storage, afterwards):
    content = checkpoint()
    run.save(content, ["last", "best"])
    accept = run.emit

    def die(event):
        if afterwards:
            accept(event)
        raise Killed

    run.emit = die
    with pytest.raises(Killed):
        run.deliver(storage)
    run.emit = accept
    watched = Faulty(storage)
    receipts = run.deliver(watched)

    assert delivered(receipts) == [True]
    assert [event.name for event in run.said()] == ["last", "best"]
    assert "put" not in watched.calls
    assert run.staged() == []


def test_a_receipt_that_was_lost_is_given_again_without_the_private_copy(run, storage):
    run.save(checkpoint(1.0), ["last", "best"], 1)
    run.save(checkpoint(2.0), ["last", "best"], 2)
    run.save(checkpoint(3.0), ["best", "epoch_3"], 3)
    run.deliver(storage)
    before = content_of(storage)

    receipts = run.deliver(storage)

    # The first is no longer there to be found: newer ones have taken both its places.
    assert [receipt.superseded for receipt in receipts] == [True, False, False]
    assert [receipt.refused for receipt in receipts] == [None, None, None]
    assert content_of(storage) == before
    assert len(run.said()) == 5


def test_a_lost_private_copy_is_not_taken_for_another_runs_checkpoint(run, storage):
    record = run.save(checkpoint(), ["best"])
    run.deliver(storage)

    (receipt,) = run.deliver(storage, [Record(**{**fields_of(record), "run": "r2"})])

    assert receipt.refused == "its private copy is gone before it was stored"


def test_an_object_that_no_longer_fits_its_manifest_is_stored_anew(run, storage):
    content = checkpoint()
    run.save(content, ["best"], 1)
    run.deliver(storage)
    storage.put_bytes(content[:-1], key("best"))

    run.deliver(storage, [run.save(content, ["best"], 1)])

    assert storage.read(key("best")) == content


def test_the_same_bytes_said_anew_need_only_a_new_manifest(run, storage):
    content = checkpoint()
    run.save(content, ["last"], 1)
    run.deliver(storage)
    final = run.save(content, ["last"], 2, final=True)
    watched = Faulty(storage)

    run.deliver(watched, [final])

    assert "put" not in watched.calls
    assert (manifest(storage, "last")["epoch"], manifest(storage, "last")["final"]) == (2, True)
    assert [(event.epoch, event.final) for event in run.said()] == [(1, False), (2, True)]


def test_at_every_moment_the_manifest_describes_the_object_beside_it(run, storage):
    contents = [checkpoint(float(value), size=50_000) for value in range(8)]
    run.save(contents[0], ["last", "best"], 0)
    run.deliver(storage)

    with Watcher(storage, {sha256(content) for content in contents}) as watcher:
        for epoch, content in enumerate(contents[1:], 1):
            run.deliver(storage, [run.save(content, ["last", "best"], epoch)])
            watcher.look_again()

    assert watcher.faults == []
    assert watcher.matched > len(contents)


class Watcher(threading.Thread):
    """Reads a checkpoint and its manifest over and over; any that don't fit, or aren't whole, are faults."""

    def __init__(self, storage, known, names=("last", "best")):
        super().__init__(name="watcher")
        self._storage = storage
        self._known = known
        self._names = names
        self._ended = threading.Event()
        self._looked = threading.Condition()
        self.looks = self.matched = 0
        self.seen = set()
        self.faults = []

    def run(self):
        while not self._ended.is_set():
            for name in self._names:
                self._look(name)
            with self._looked:
                self.looks += 1
                self._looked.notify_all()

    def look_again(self, times=2):
        """Wait until it has looked that many more times, from the start."""
        with self._looked:
            goal = self.looks + times
            assert self._looked.wait_for(lambda: self.looks >= goal, DEADLINE)

    def _look(self, name):
        try:
            self._compare(name)
        except StorageError as error:  # a look that failed says nothing, unless it says that nothing is there
            if isinstance(error, ObjectMissing):
                raise

    def _compare(self, name):
        before = self._manifest(name)
        found = sha256(self._storage.read(key(name)))
        if found not in self._known:
            self.faults.append(f"{name} is torn")
        self.seen.add(found)
        # One that was exchanged while we read says nothing about what we read.
        if before is not None and before == self._manifest(name):
            self.matched += 1
            if before["sha256"] != found:
                self.faults.append(f"{name} is {found}, and its manifest says {before['sha256']}")

    def _manifest(self, name):
        try:
            return manifest(self._storage, name)
        except ObjectMissing:
            return None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self.join(DEADLINE)
        assert not self.is_alive()


def outcome(directory, fault=None):
    """What a second pass leaves behind after a first one that `fault` has struck, and the first one's calls."""
    run = Run(directory / "run")
    storage = open_storage((directory / "store").as_uri())
    old, new = checkpoint(1.0), checkpoint(2.0)
    run.save(old, ["last", "best"], 1)
    run.deliver(storage)
    record = run.save(new, ["last", "best"], 2)
    faulty = Faulty(storage, fault)
    with contextlib.suppress(Killed, RetryLater):
        run.deliver(faulty, [record])
    for name in ("last", "best"):
        stored = sha256(storage.read(key(name)))
        assert stored in (sha256(old), sha256(new))
        with contextlib.suppress(ObjectMissing):
            assert manifest(storage, name)["sha256"] == stored
    receipts = run.deliver(storage, [record])
    run.close()
    objects = {name: without_created(content) for name, content in content_of(storage).items()}
    said = [(event.name, event.epoch, event.sha256) for event in run.said()]
    return (objects, said, run.staged(), delivered(receipts)), faulty.calls


def without_created(content):
    if not content.startswith(b"{"):
        return content
    described = json.loads(content)
    assert described.pop("created")
    return described


def fields_of(record):
    return {name: getattr(record, name) for name in record.__struct_fields__}

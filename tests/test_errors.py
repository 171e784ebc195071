"""Failures as hosts really raise them, and false friends that only sound like them."""

from __future__ import annotations

import errno
import json
import os
import pickle
import re
import socket
import ssl
import urllib.error
import urllib.request
from pathlib import Path

import botocore.exceptions
import cv2
import httpx
import numpy as np
import pytest
import torch
import yaml
from torch.distributed import DistBackendError
from torch.utils.data import DataLoader, Dataset
from ultralytics import YOLO
from ultralytics.data.utils import check_cls_dataset
from ultralytics.models.yolo.detect import DetectionTrainer

from trainer_hooks import errors
from trainer_hooks.errors import ErrorType, TrainerHooksError, classify


def raised_by(function, *arguments, **options) -> BaseException:
    with pytest.raises(BaseException) as caught:
        function(*arguments, **options)
    return caught.value


def raising(error: BaseException) -> BaseException:
    """The error after it has been raised, as a caller gets it."""

    def function() -> None:
        raise error

    return raised_by(function)


# Ultralytics


@pytest.fixture
def dataset(tmp_path):
    """Makes a detection dataset's YAML, with what is asked for in its folder."""

    def make(*, images: int = 0, valid: bool = True, **fields: object) -> str:
        (tmp_path / "images").mkdir()
        (tmp_path / "labels").mkdir()
        for number in range(images):
            cv2.imwrite(str(tmp_path / f"images/{number}.jpg"), np.zeros((32, 32, 3), np.uint8))
            if not valid:
                (tmp_path / f"images/{number}.jpg").write_bytes(b"no image")
        content = {"path": str(tmp_path), "train": "images", "val": "images", "names": {0: "thing"}, **fields}
        path = tmp_path / "data.yaml"
        path.write_text(yaml.safe_dump(content))
        return str(path)

    return make


def trainer(data: str, **options: object) -> DetectionTrainer:
    fixed = {"model": "yolov8n.yaml", "device": "cpu", "epochs": 1, "workers": 0, "imgsz": 32, "plots": False}
    project = str(Path(data).parent / "runs")
    return DetectionTrainer(overrides={**fixed, "project": project, "data": data, **options})


@pytest.mark.parametrize("fields", [{"val": "gone"}, {"names": None}, {"path": "/nowhere"}, {"nc": 5}])
def test_ultralytics_with_a_dataset_that_is_not_there_or_not_right(dataset, fields):
    assert classify(raised_by(trainer, dataset(**fields))) == ErrorType.DATASET_ERROR


def test_ultralytics_with_a_dataset_file_that_is_missing_or_no_yaml(tmp_path):
    assert classify(raised_by(trainer, str(tmp_path / "gone.yaml"))) == ErrorType.DATASET_ERROR
    (tmp_path / "broken.yaml").write_text("path: [")
    assert classify(raised_by(trainer, str(tmp_path / "broken.yaml"))) == ErrorType.DATASET_ERROR


@pytest.mark.parametrize("content", [{"images": 0}, {"images": 2}, {"images": 2, "valid": False}])
def test_ultralytics_with_a_dataset_without_images_without_labels_or_of_damaged_images(dataset, content):
    data = dataset(**content)
    assert classify(raised_by(lambda: trainer(data).train())) == ErrorType.DATASET_ERROR


def test_ultralytics_with_a_classification_folder_without_images(tmp_path):
    assert classify(raised_by(check_cls_dataset, str(tmp_path))) == ErrorType.DATASET_ERROR


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and then something else", b"GIF89a is no checkpoint at all"])
def test_ultralytics_with_a_damaged_checkpoint(tmp_path, content):
    (tmp_path / "damaged.pt").write_bytes(content)
    assert classify(raised_by(YOLO, str(tmp_path / "damaged.pt"))) == ErrorType.CHECKPOINT_ERROR


def test_ultralytics_with_a_checkpoint_that_is_not_there(tmp_path, dataset, monkeypatch):
    monkeypatch.chdir(tmp_path)  # else Ultralytics finds one that `make demo` has left
    assert classify(raised_by(YOLO, str(tmp_path / "gone.pt"))) == ErrorType.CHECKPOINT_ERROR
    resuming = raised_by(trainer, dataset(), resume=True, model=str(tmp_path / "gone.pt"))
    assert classify(resuming) == ErrorType.CHECKPOINT_ERROR


@pytest.mark.parametrize("options", [{"epochss": 3}, {"epochs": "many"}, {"lr0": 5.0}, {"device": "7"}])
def test_ultralytics_with_arguments_it_does_not_take(dataset, options):
    data = dataset()
    assert classify(raised_by(lambda: trainer(data, **options))) == ErrorType.CONFIG_ERROR


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        # engine/trainer.py, _handle_nan_recovery
        ("Training failed: NaN persisted for 4 epochs", ErrorType.VALIDATION_ERROR),
        ("Loss NaN/Inf detected but no valid last.pt is available for recovery", ErrorType.VALIDATION_ERROR),
        ("Fitness NaN/Inf detected but no valid last.pt is available for recovery", ErrorType.VALIDATION_ERROR),
        ("Checkpoint /runs/last.pt is corrupted with NaN/Inf weights", ErrorType.CHECKPOINT_ERROR),
        # data/base.py, load_image
        ("Image Not Found /data/images/7.jpg", ErrorType.DATASET_ERROR),
        # torch, where neither a GPU nor a lack of memory is at hand to be asked
        ("CUDA out of memory. Tried to allocate 20.00 MiB (GPU 0; 7.79 GiB total)", ErrorType.RESOURCE_ERROR),
        ("MPS backend out of memory (MPS allocated: 18.00 GB)", ErrorType.RESOURCE_ERROR),
        ("CUDA error: out of memory\nCUDA kernel errors might be asynchronously", ErrorType.RESOURCE_ERROR),
        ("CUDA error: an illegal memory access was encountered", ErrorType.RESOURCE_ERROR),
        ("CUDA error: device-side assert triggered", ErrorType.FRAMEWORK_ERROR),
        ("DataLoader worker (pid 812) is killed by signal: Killed. ", ErrorType.RESOURCE_ERROR),
        ("unable to open shared memory object </torch_1_2> in read-write mode", ErrorType.RESOURCE_ERROR),
        ("Function 'MulBackward0' returned nan values in its 0th output.", ErrorType.VALIDATION_ERROR),
        # MMEngine
        ("class `CocoDataset` in mmdet/datasets/coco.py: [Errno 2] No such file", ErrorType.DATASET_ERROR),
        ("No state_dict found in checkpoint file epoch_3.pth", ErrorType.CHECKPOINT_ERROR),
    ],
)
def test_messages_word_for_word(text, kind):
    assert classify(RuntimeError(text)) == kind


def test_a_name_that_is_in_no_registry_of_mmengine():
    text = "TrainerHook is not in the mmengine::hook registry. Please check whether the value is correct."
    assert classify(KeyError(text)) == ErrorType.CONFIG_ERROR


# torch


def test_out_of_memory_on_the_gpu_by_its_class():
    assert classify(torch.OutOfMemoryError("whatever it says")) == ErrorType.RESOURCE_ERROR
    assert classify(torch.cuda.OutOfMemoryError()) == ErrorType.RESOURCE_ERROR


def test_out_of_memory_on_the_cpu():
    assert classify(raised_by(torch.empty, 1 << 50)) == ErrorType.RESOURCE_ERROR
    assert classify(raised_by(np.empty, 1 << 50)) == ErrorType.RESOURCE_ERROR
    assert classify(MemoryError()) == ErrorType.RESOURCE_ERROR


@pytest.mark.parametrize("weights_only", [True, False])
@pytest.mark.parametrize("cut", [10, 500, 3000])
def test_a_torn_checkpoint(tmp_path, cut, weights_only):
    torch.save({"weights": torch.zeros(1000)}, tmp_path / "last.pt")
    (tmp_path / "torn.pt").write_bytes((tmp_path / "last.pt").read_bytes()[:cut])
    error = raised_by(torch.load, tmp_path / "torn.pt", weights_only=weights_only)
    assert classify(error) == ErrorType.CHECKPOINT_ERROR


def test_a_checkpoint_of_another_model_or_of_no_model():
    assert classify(raised_by(torch.nn.Linear(2, 2).load_state_dict, {"x": 1})) == ErrorType.CHECKPOINT_ERROR
    assert classify(raised_by(pickle.loads, b"no pickle")) == ErrorType.CHECKPOINT_ERROR


def test_shapes_and_devices_that_do_not_fit():
    assert classify(raised_by(torch.nn.Linear(2, 2), torch.zeros(3, 3))) == ErrorType.FRAMEWORK_ERROR
    assert classify(raised_by(torch.add, torch.zeros(2), torch.zeros(3))) == ErrorType.FRAMEWORK_ERROR
    assert classify(ImportError("cannot import name 'x'")) == ErrorType.FRAMEWORK_ERROR


class Deadly(Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        os._exit(9)


class OfTensors(Dataset):
    def __len__(self):
        return 64

    def __getitem__(self, index):
        return torch.zeros(1000)


class Remote(Dataset):
    """One that can't be reached."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")


class Unreadable(Dataset):
    """One whose samples can't be read, in the many ways of that."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __len__(self) -> int:
        return 4

    def __getitem__(self, place: int) -> int:
        raise self._error


@pytest.mark.parametrize("error", [FileNotFoundError(2, "none", "a.jpg"), ValueError("no label"), KeyError("boxes")])
def test_what_a_dataset_cannot_read_is_the_datasets_trouble(error):
    assert classify(raising(error)) == ErrorType.UNKNOWN_ERROR
    assert classify(raised_by(next, iter(DataLoader(Unreadable(error))))) == ErrorType.DATASET_ERROR


def test_a_bug_in_a_dataset_or_a_full_disk_is_not():
    assert classify(raised_by(Unreadable(NameError("typo")).__getitem__, 0)) == ErrorType.UNKNOWN_ERROR
    full = OSError(errno.ENOSPC, "No space left on device")
    assert classify(raised_by(Unreadable(full).__getitem__, 0)) == ErrorType.RESOURCE_ERROR


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch forks its workers
def test_a_data_loader_whose_worker_dies():
    error = raised_by(lambda: list(DataLoader(Deadly(), num_workers=1)))
    assert classify(error) == ErrorType.RESOURCE_ERROR


class Cut:
    """What comes from a worker that is killed while it hands over a batch: it counts as alive for a moment longer."""

    def get(self, timeout):  # noqa: ARG002 - as a queue's
        raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_data_loading_worker_that_is_killed_while_it_hands_over_a_batch():
    batches = iter(DataLoader(OfTensors(), num_workers=1))
    batches._data_queue = Cut()
    assert classify(raised_by(next, batches)) == ErrorType.RESOURCE_ERROR


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_a_worker_could_not_reach_is_the_networks_trouble():
    error = raised_by(lambda: list(DataLoader(Remote(), num_workers=1)))
    assert classify(error) == ErrorType.NETWORK_ERROR


def test_a_distributed_job_whose_peers_are_gone():
    assert classify(DistBackendError("NCCL error in: ProcessGroupNCCL.cpp")) == ErrorType.NETWORK_ERROR


# Python, the system, the network


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENOMEM])
def test_the_system_has_no_room_left(number):
    assert classify(OSError(number, os.strerror(number), "/data/last.pt")) == ErrorType.RESOURCE_ERROR


def test_a_real_full_disk():
    def write() -> None:
        with open("/dev/full", "wb", buffering=0) as file:  # noqa: PTH123 - as hosts do
            file.write(b"x")

    assert classify(raised_by(write)) == ErrorType.RESOURCE_ERROR


def test_the_network_fails():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/"
        failures = [
            raised_by(socket.create_connection, free.getsockname(), 1),
            raised_by(httpx.get, address, timeout=1),
            raised_by(urllib.request.urlopen, address, timeout=1),
        ]
    failures += [
        TimeoutError(),
        ConnectionResetError(),
        BrokenPipeError(),
        socket.gaierror(-2, "Name or service not known"),
        ssl.SSLError(),
        urllib.error.URLError("x"),
        botocore.exceptions.EndpointConnectionError(endpoint_url="http://s3"),
        botocore.exceptions.ClientError({"Error": {"Code": "AccessDenied"}}, "PutObject"),
    ]
    assert {classify(failure) for failure in failures} == {ErrorType.NETWORK_ERROR}


def test_a_configuration_that_can_not_be_read():
    assert classify(raised_by(yaml.safe_load, "a: [")) == ErrorType.CONFIG_ERROR
    assert classify(raised_by(yaml.safe_load, "a: !!python/none x")) == ErrorType.CONFIG_ERROR
    assert classify(raised_by(json.loads, "{")) == ErrorType.CONFIG_ERROR
    assert classify(botocore.exceptions.NoCredentialsError()) == ErrorType.CONFIG_ERROR


# What only sounds like it


@pytest.mark.parametrize(
    "error",
    [
        KeyError("dataset"),
        KeyError("images"),
        ValueError("the dataset size must be a multiple of 8"),
        RuntimeError("Dataset"),
        TypeError("'NoneType' object is not subscriptable"),
        RuntimeError("can't start a new thread while saving the checkpoint"),
        FileNotFoundError(2, "No such file or directory", "/data/checkpoints/list.txt"),
        PermissionError(13, "Permission denied", "/data/dataset.yaml"),
        ValueError("NaN is not allowed in JSON"),
        ValueError("cannot convert float NaN to integer"),
        AssertionError("my loss became NaN"),
        RuntimeError("the tokenizer ran out of memory tokens"),
        RuntimeError("worker exited unexpectedly"),
        RuntimeError("nothing was killed by signal 9"),
        ValueError("x is not a valid YOLO argument of mine"),
        RuntimeError("in step 3: CUDA out of memory. was the first guess, and wrong"),
        RuntimeError("see the notes on: Dataset 'coco' error"),
        RuntimeError("not so bad as: Training failed: NaN persisted"),
        IndexError("list index out of range"),
        ZeroDivisionError("division by zero"),
        RuntimeError(""),
        SystemExit(1),
        OSError(errno.EACCES, "Permission denied"),
        Exception(),
    ],
    ids=repr,
)
def test_what_only_sounds_like_a_known_failure_stays_unknown(error):
    assert classify(raising(error)) == ErrorType.UNKNOWN_ERROR


# The chain


def chained(inner: BaseException, outer: BaseException, how: str) -> BaseException:
    def function() -> None:
        try:
            raise inner  # noqa: TRY301 - the chain is the point
        except BaseException as error:
            if how == "from":
                raise outer from error
            if how == "from none":
                raise outer from None
            raise outer  # noqa: B904 - the implicit chain is the point

    return raised_by(function)


def test_an_error_of_no_class_is_what_it_was_raised_from():
    full = OSError(errno.ENOSPC, "No space left on device")
    assert classify(chained(full, RuntimeError("saving failed"), "from")) == ErrorType.RESOURCE_ERROR
    assert classify(chained(full, RuntimeError("saving failed"), "during")) == ErrorType.RESOURCE_ERROR


def test_the_error_itself_goes_before_what_it_was_raised_from():
    assert classify(chained(ConnectionError(), MemoryError(), "from")) == ErrorType.RESOURCE_ERROR


def test_from_none_ends_the_chain():
    assert classify(chained(ConnectionError(), RuntimeError("x"), "from none")) == ErrorType.UNKNOWN_ERROR


def test_a_chain_that_bites_its_own_tail_comes_to_an_end():
    first, second = RuntimeError("a"), RuntimeError("b")
    first.__cause__, second.__cause__ = second, first
    assert classify(first) == ErrorType.UNKNOWN_ERROR


def test_what_the_predecessor_raises_of_pythons_own_is_caught_as_that():
    assert issubclass(errors.UnknownFramework, ValueError)
    assert issubclass(errors.MissingPackage, ImportError)
    assert issubclass(errors.NoDataset, ValueError)
    assert str(errors.MissingPackage("install it")) == "install it"


def test_every_exception_of_this_package_has_one_base():
    ours = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, BaseException)]
    assert {kind.__name__ for kind in ours} == set(re.findall(r"[A-Z]\w+(?=$|  )", errors.__doc__ or "", re.MULTILINE))
    assert all(issubclass(kind, TrainerHooksError) for kind in ours)

"""Lets Ultralytics' own multi-GPU launch run without GPUs: two "devices" become two gloo ranks on the CPU.

Put this folder on PYTHONPATH. It changes Ultralytics (not us) in every process that imports its trainer, and nothing in
any other.
"""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.util
import os
import sys
from datetime import timedelta
from types import ModuleType
from typing import Any

_TRAINER = "ultralytics.engine.trainer"


class _AfterTrainer(importlib.abc.MetaPathFinder):
    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:  # noqa: ARG002 - the protocol's
        if name != _TRAINER:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            _to_cpu(module)

        spec.loader.exec_module = exec_module
        return spec


def _to_cpu(trainer: ModuleType) -> None:
    import torch

    ranked = trainer.RANK != -1
    select = trainer.select_device

    def select_device(device: Any = "", *arguments: Any, **options: Any) -> Any:
        several = "," in str(device).strip("[]")
        if several:  # as the host's own, which versions around 8.4.50 read again
            os.environ["CUDA_VISIBLE_DEVICES"] = str(device).strip("[]").replace(" ", "")
        return torch.device("cuda", 0) if several or ranked else select(device, *arguments, **options)

    def setup_ddp(self: Any, world_size: int | None = None) -> None:
        size = self.world_size if world_size is None else world_size
        self.device = torch.device("cpu")
        torch.distributed.init_process_group("gloo", timeout=timedelta(seconds=60), rank=trainer.RANK, world_size=size)

    trainer.select_device = select_device
    trainer.BaseTrainer._setup_ddp = setup_ddp
    if hasattr(trainer, "parse_device"):
        parse = trainer.parse_device
        trainer.parse_device = lambda device: device if "," in str(device) else parse(device)
    torch.nn.parallel.DistributedDataParallel = _without_devices(torch.nn.parallel.DistributedDataParallel)
    if ranked:
        _validate_on_cpu(trainer, torch)


def _without_devices(parallel: Any) -> Any:
    class OnCpu(parallel):  # a class, for older versions ask whether a model is one
        def __init__(self, module: Any, device_ids: Any = None, **options: Any) -> None:  # noqa: ARG002
            super().__init__(module, **options)

    return OnCpu


def _validate_on_cpu(trainer: ModuleType, torch: ModuleType) -> None:
    from ultralytics.data import build
    from ultralytics.engine import validator
    from ultralytics.models.yolo.detect import train as detect

    backend = validator.AutoBackend
    validator.AutoBackend = lambda *a, **k: backend(*a, **{**k, "device": torch.device("cpu")})
    validator.select_device = lambda *_, **__: torch.device("cpu")
    if hasattr(validator, "get_torch_device_backend"):
        no_device = type("NoDevice", (), {"current_device": staticmethod(lambda: 0)})
        validator.get_torch_device_backend = lambda *_: no_device

    @contextlib.contextmanager
    def first_then_the_others(rank: int) -> Any:
        together = torch.distributed.is_available() and torch.distributed.is_initialized()
        if together and rank not in (-1, 0):
            torch.distributed.barrier()
        yield
        if together and rank == 0:
            torch.distributed.barrier()

    for module in (trainer, build, detect, validator):
        if hasattr(module, "torch_distributed_zero_first"):
            module.torch_distributed_zero_first = first_then_the_others


sys.meta_path.insert(0, _AfterTrainer())

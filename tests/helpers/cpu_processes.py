"""Lets Ultralytics' trainer share batches among processes on the CPU; it does so on GPUs only.

Runs load it as a user's module (`YOLO_FOCAL_MODULES`). Processes that torch's launcher has started and that are told to
train on GPUs train on the CPU then, and gloo takes nccl's place; all else is Ultralytics' own, such as the sharing of
batches and the gathering of statistics.
"""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel
from ultralytics.engine import trainer, validator

CPU = torch.device("cpu")


def _choose(*_: Any, **__: Any) -> torch.device:
    return CPU


def _init(self: Any, *args: Any, _original: Any = trainer.BaseTrainer.__init__, **kwargs: Any) -> None:
    _original(self, *args, **kwargs)
    self.world_size = int(os.environ["WORLD_SIZE"])


def _set_up(self: Any) -> None:
    self.device = CPU
    distributed.init_process_group("gloo")


def _replicate(
    self: Any, module: Any, device_ids: Any = None, _original: Any = DistributedDataParallel.__init__, **kwargs: Any
) -> None:
    assert device_ids == [None]  # the index of a CPU
    _original(self, module, **kwargs)


def _reduce(tensor: torch.Tensor, dst: int, op: Any, _original: Any = distributed.reduce) -> None:
    if op == distributed.ReduceOp.AVG:  # gloo has none
        tensor /= distributed.get_world_size()
        op = distributed.ReduceOp.SUM
    _original(tensor, dst, op)


def _backend(device: Any, _original: Any = validator.AutoBackend, **kwargs: Any) -> Any:  # noqa: ARG001
    return _original(device=CPU, **kwargs)


torch.cuda.is_available = lambda: False
trainer.select_device = validator.select_device = _choose
if "LOCAL_RANK" in os.environ:
    trainer.BaseTrainer.__init__ = _init
    trainer.BaseTrainer._setup_ddp = _set_up
    DistributedDataParallel.__init__ = _replicate
    distributed.reduce = _reduce
    validator.AutoBackend = _backend
    validator.get_torch_device_backend = lambda _: SimpleNamespace(current_device=lambda: 0)

"""What each of two processes runs: a step of a module that is replicated over both, and its gradients in a file.

python -m torch.distributed.run --standalone --nproc_per_node=2 two_processes.py DEVICE FILE
"""

from __future__ import annotations

import sys

import torch
import torch.distributed
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from yolo_focal import FocalModulation


def network(device: str) -> nn.Module:
    """Return a network without norms over the batch, the same each time."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 16, 3, 2), FocalModulation(16), nn.Conv2d(16, 4, 1)).to(device)


def batch(device: str) -> torch.Tensor:
    """Return the images of both processes."""
    return torch.randn(4, 3, 33, 31, generator=torch.Generator().manual_seed(0)).to(device)


def main(device: str, file: str) -> None:
    """Take half of the images, and write the mean gradients of both processes."""
    torch.backends.cudnn.allow_tf32 = False
    torch.distributed.init_process_group("gloo")
    rank = torch.distributed.get_rank()
    replicated = DistributedDataParallel(network(device))
    replicated(batch(device)[2 * rank : 2 * rank + 2]).square().mean().backward()
    if rank == 0:
        torch.save([p.grad.cpu() for p in replicated.parameters()], file)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])

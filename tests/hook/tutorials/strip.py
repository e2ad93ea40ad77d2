# A strip attention that does its arithmetic with NumPy and names its kernels by an index called i.
import numpy as np
import torch
import torch.nn as nn

import yolo_focal


@yolo_focal.register
class StripAttention(nn.Module):
    def __init__(self, c1, kernels=(5, 7)):
        super().__init__()
        self.np = int(np.sum(kernels))
        for i, k in enumerate(kernels):
            setattr(self, f"conv{i}", nn.Conv2d(c1, c1, (1, k), padding=(0, k // 2), groups=c1))
        self.i = len(kernels)
        self.out = nn.Conv2d(c1, c1, 1)

    def forward(self, x):
        y = x
        for i in range(self.i):
            y = y + getattr(self, f"conv{i}")(x)
        return x * torch.sigmoid(self.out(y) / self.np)

# A C2f with other bottlenecks, made of Ultralytics' own blocks.
import torch
import torch.nn as nn
from ultralytics import YOLO  # noqa: F401  many files import more than they use
from ultralytics.models.yolo.detect import DetectionTrainer  # noqa: F401
from ultralytics.nn.modules import C2f, Conv, DWConv

import yolo_focal


class ShuffleBottleneck(nn.Module):
    def __init__(self, c1, c2, shortcut=True, e=0.5):
        super().__init__()
        c_ = int(c2 * e)
        self.cv1 = Conv(c1, c_, 1)
        self.cv2 = DWConv(c_, c_, 3)
        self.cv3 = Conv(c_, c2, 1)
        self.add = shortcut and c1 == c2

    def forward(self, x):
        y = self.cv2(self.cv1(x))
        b, c, h, w = y.shape
        y = self.cv3(y.view(b, 2, c // 2, h, w).transpose(1, 2).reshape(b, c, h, w))
        return x + y if self.add else y


@yolo_focal.register
class C2f_Shuffle(C2f):  # noqa: N801
    def __init__(self, c1, c2, n=1, shortcut=False, g=1, e=0.5):
        super().__init__(c1, c2, n, shortcut, g, e)
        self.m = nn.ModuleList(ShuffleBottleneck(self.c, self.c, shortcut) for _ in range(n))

    def forward(self, x):
        y = list(self.cv1(x).chunk(2, 1))
        y.extend(m(y[-1]) for m in self.m)
        return self.cv2(torch.cat(y, 1))

"""The source of a fork's modules: those of a file of its own, and its heads."""

from __future__ import annotations

ADDED = '''
import torch
from torch import nn

from .block import C2f, Named
from .conv import Conv, autopad
from ultralytics.utils.ops import make_divisible


class SameAttention(nn.Module):
    """Keeps its channels."""

    def __init__(self, dim, ratio=4):
        super().__init__()
        self.fc = nn.Conv2d(dim, make_divisible(dim, ratio), 1)

    def forward(self, x):
        return x * self.fc(x).sigmoid()


class FocalModulation(SameAttention):
    """Has the name of another module."""


class C2f_Added(C2f):
    def __init__(self, c1, c2, n=1, shortcut=False):
        super().__init__(c1, c2, n, shortcut)
        self.more = Named(c2)

    def forward(self, x):
        return self.more(super().forward(x))


class Threshold(nn.Module):
    def __init__(self, c1, c2, threshold):
        super().__init__()
        self.cv = Conv(c1, c2, 1)
        self.extra = nn.Parameter(torch.ones(threshold))

    def forward(self, x):
        return self.cv(x) * self.extra.mean()


class Fusion(nn.Module):
    def __init__(self, widths, c2):
        super().__init__()
        self.convs = nn.ModuleList(Conv(c, c2, 1) for c in widths)

    def forward(self, x):
        return sum(nn.functional.interpolate(c(y), x[0].shape[2:]) for c, y in zip(self.convs, x))


class Pyramid(nn.Module):
    """A backbone that returns four maps."""

    def __init__(self, width):
        super().__init__()
        self.width_list = [width, 2 * width, 4 * width, 8 * width]
        self.stem = Conv(3, width, 3, 2)
        widths = [width, *self.width_list]
        self.stages = nn.ModuleList(Conv(a, b, 3, 2) for a, b in zip(widths, self.width_list))

    def forward(self, x):
        maps = [self.stem(x)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps[1:]


def pyramid_small(width=16):
    return Pyramid(width)
'''
# A file beside nn/tasks.py, and a folder there whose files are imported with a star: of `clash.py` only `Shown`.
BESIDE = """
from torch import nn


class Beside(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.norm = nn.BatchNorm2d(dim)

    def forward(self, x):
        return self.norm(x)
"""
FOLDER = {
    "__init__.py": "from .clash import *\nfrom .script import *\n",
    "clash.py": """
from torch import nn

__all__ = ["Shown"]


class Conv(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, 1)

    def forward(self, x):
        return self.conv(x)


class Shown(Conv):
    pass
""",
    "script.py": """
from . import *


def _unused(inputs):
    return inputs


if __name__ == "__main__":
    inputs = 1
""",
}
HEADS = '''

class IDetect(nn.Module):
    """A head as that of 8.3 is used: it returns lists of maps."""

    export, format, dynamic, legacy, shape, max_det, end2end, xyxy = False, None, False, False, None, 300, False, False

    def __init__(self, nc=80, ch=()):
        super().__init__()
        self.nc, self.nl, self.reg_max = nc, len(ch), 16
        self.no = nc + 64
        self.stride = torch.zeros(self.nl)
        self.cv2 = nn.ModuleList(nn.Sequential(Conv(c, 64, 3), nn.Conv2d(64, 64, 1)) for c in ch)
        self.cv3 = nn.ModuleList(nn.Sequential(Conv(c, 64, 3), nn.Conv2d(64, nc, 1)) for c in ch)
        self.dfl = DFL(16)

    def forward(self, x):
        x = [torch.cat((box(y), cls(y)), 1) for box, cls, y in zip(self.cv2, self.cv3, x)]
        if self.training:
            return x
        box, cls = torch.cat([y.flatten(2) for y in x], 2).split((64, self.nc), 1)
        self.anchors, self.strides = (a.transpose(0, 1) for a in make_anchors(x, self.stride, 0.5))
        y = torch.cat((self.decode_bboxes(self.dfl(box), self.anchors.unsqueeze(0)) * self.strides, cls.sigmoid()), 1)
        return y if self.export else (y, x)

    def decode_bboxes(self, boxes, anchors):
        return dist2bbox(boxes, anchors, xywh=True, dim=1)

    def bias_init(self):
        for box, cls in zip(self.cv2, self.cv3):
            box[-1].bias.data[:] = 1.0
            cls[-1].bias.data[:] = -5.0


class _Beside(IDetect):
    def __init__(self, nc, count, ch):
        super().__init__(nc, ch)
        self.cv4 = nn.ModuleList(nn.Conv2d(c, count, 1) for c in ch)

    def beside(self, x):
        return torch.cat([conv(y).flatten(2) for conv, y in zip(self.cv4, x)], 2)


class ISegment(_Beside):
    def __init__(self, nc=80, nm=32, npr=256, ch=()):
        super().__init__(nc, nm, ch)
        self.nm, self.npr, self.proto = nm, npr, Proto(ch[0], npr, nm)

    def forward(self, x):
        proto, masks = self.proto(x[0]), self.beside(x)
        out = IDetect.forward(self, x)
        if self.training:
            return out, masks, proto
        if self.export:
            return torch.cat([out, masks], 1), proto
        return torch.cat([out[0], masks], 1), (out[1], masks, proto)


class IPose(_Beside):
    def __init__(self, nc=80, kpt_shape=(17, 3), ch=()):
        self.kpt_shape, self.nk = kpt_shape, kpt_shape[0] * kpt_shape[1]
        shape = kpt_shape
        super().__init__(nc, shape[0] * shape[1], ch)
        self.kpt_shape, self.nk = shape, shape[0] * shape[1]

    def forward(self, x):
        kpts = self.beside(x)
        out = IDetect.forward(self, x)
        if self.training:
            return out, kpts
        n, dims = self.kpt_shape
        y = kpts.view(len(kpts), n, dims, -1)
        xy = (y[:, :, :2] * 2 + self.anchors - 0.5) * self.strides
        points = torch.cat([xy, y[:, :, 2:].sigmoid()], 2).view(len(kpts), n * dims, -1)
        return torch.cat([out, points], 1) if self.export else (torch.cat([out[0], points], 1), (out[1], kpts))


class IOBB(_Beside):
    def __init__(self, nc=80, ne=1, ch=()):
        super().__init__(nc, ne, ch)
        self.ne = ne

    def forward(self, x):
        self.angle = (self.beside(x).sigmoid() - 0.25) * math.pi
        out = IDetect.forward(self, x)
        if self.training:
            return out, self.angle
        if self.export:
            return torch.cat([out, self.angle], 1)
        return torch.cat([out[0], self.angle], 1), (out[1], self.angle)

    def decode_bboxes(self, boxes, anchors):
        return dist2rbox(boxes, self.angle, anchors, dim=1)


class Finder(IDetect):
    """A head by no name of Ultralytics'."""


class FormlessOutput(nn.Module):
    def __init__(self, nc, ch):
        super().__init__()
        self.conv = nn.Conv2d(ch[0], nc, 1)

    def forward(self, x):
        return self.conv(x[0])
'''

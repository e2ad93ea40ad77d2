"""A fork as people make them: the installed Ultralytics with modules of our own, pasted in the ways that forks use."""

from __future__ import annotations

import shutil
from pathlib import Path

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


class FormlessOutput(nn.Module):
    def __init__(self, nc, ch):
        super().__init__()
        self.conv = nn.Conv2d(ch[0], nc, 1)

    def forward(self, x):
        return self.conv(x[0])
'''
NAMES = "SameAttention, FocalModulation, C2f_Added, Threshold, Fusion, pyramid_small"
OWN_HEADS = "IDetect, ISegment, IPose, IOBB, FormlessOutput"
BLOCK = """
class Named(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(dim, 1, 1))

    def forward(self, x):
        return x * self.scale


class SPP(nn.Module):
    changed = True
"""
BRANCHES = f"""
        elif m in {{SameAttention, FocalModulation, Named}}:
            c2 = ch[f]
            args = [c2, *args]
        elif m is Threshold:
            c1 = ch[f]
            c2 = make_divisible(min(args[0], max_channels) * width, 8)
            args = [c1, c2, threshold]
            legacy = False
        elif m is Fusion:
            c2 = make_divisible(args[0] * width, 8)
            args = [[ch[x] for x in f], c2]
        elif m in {{pyramid_small}}:
            m = m(*args)
            c2 = m.width_list
            backbone = True
        elif m in {{{OWN_HEADS}}}:
            args.append([ch[x] for x in f])
        elif m is AIFI:"""
KEYS = """
        args = [d[a] if a in ("head_channel", "fusion_mode") else a for a in args]
        m = d[m] if m == "node_mode" else m"""
BUILD = """
        if isinstance(c2, list):
            m_, t = m, type(m).__name__
            m_.backbone = True
        else:
            m_ = torch.nn.Sequential(*(m(*args) for _ in range(n))) if n > 1 else m(*args)
"""
RUN = """
            if hasattr(m, "backbone"):
                y.extend([None, *m(x)])
                x = y[-1]
                continue
            x = m(x)  # run
            y"""
# In which file: what is replaced by what. The names that it adds to a file of Ultralytics', the module of Ultralytics'
# that it changes, and its branches of the parser.
EDITS = {
    "nn/modules/block.py": [("\nclass SPP(nn.Module):\n", BLOCK)],
    "nn/modules/head.py": [("\nclass Segment(Detect):", f"{HEADS}\n\nclass Segment(Detect):")],
    "nn/modules/__init__.py": [
        (
            "\nfrom .block import (",
            f"\nfrom .absent import Absent\nfrom .added import {NAMES}\nfrom .head import {OWN_HEADS}\n"
            "from .block import (\n    Named,",
        )
    ],
    "nn/tasks.py": [
        ("\n        m = (\n            getattr(torch.nn", f"{KEYS}\n        m = (\n            getattr(torch.nn"),
        (
            "\nfrom ultralytics.nn.modules import (",
            f"\nfrom ultralytics.nn.modules import (Absent, {NAMES}, {OWN_HEADS}, Named,",
        ),
        ("depth, width, max_channels = scales", "depth, width, max_channels, threshold = scales"),
        ("            Classify,\n            Conv,", "            C2f_Added, Absent, Classify, Conv,"),
        (
            "            BottleneckCSP,\n            C1,",
            "            C2f_Added,\n            BottleneckCSP,\n            C1,",
        ),
        ("    ch = [ch]\n", "    ch = [ch]\n    backbone = False\n"),
        ("\n        elif m is AIFI:", BRANCHES),
        ("\n        m_ = torch.nn.Sequential(*(m(*args) for _ in range(n))) if n > 1 else m(*args)  # module\n", BUILD),
        ("m_.i, m_.f, m_.type = i,", "m_.i, m_.f, m_.type = i + 4 if backbone else i,"),
        ("x % i for", "x % (i + 4 if backbone else i) for"),
        ("        ch.append(c2)\n", "        ch.extend([0, *c2] if isinstance(c2, list) else [c2])\n"),
        ("\n            x = m(x)  # run\n            y", RUN),
    ],
}
CONFIG = """
nc: 4
kpt_shape: [4, 3]
scales:
  n: [0.33, 0.25, 1024, 8]
  s: [0.33, 0.50, 1024, 12]
backbone:
  - [-1, 1, Conv, [64, 3, 2]]
  - [-1, 1, Conv, [128, 3, 2]]
  - [-1, 3, {block}, [128, True]]
  - [-1, 1, Conv, [256, 3, 2]]
  - [-1, 1, {same}, {same_args}]
  - [-1, 1, Conv, [256, 3, 2]]
  - [-1, 1, {wide}, [256]]
  - [-1, 1, SPP, [256, [5]]]
head:
  - [[4, 7], 1, Fusion, [256]]
  - [-1, 1, Conv, [256, 3, 2]]
  - [[8, 9], 1, {head}]
"""
BACKBONE = """
nc: 4
scales:
  n: [0.33, 0.25, 1024, 8]
  s: [0.33, 0.50, 1024, 12]
backbone:
  - [-1, 1, pyramid_small, [8]]
  - [-1, 1, SPPF, [256, 5]]
head:
  - [[-1, 4], 1, Fusion, [128]]
  - [[6, 3], 1, Detect, [nc]]
"""
# Rows that name a module and arguments by keys of the file.
KEYED = """
nc: 4
node_mode: C2f
head_channel: 64
scales:
  n: [0.33, 0.25, 1024, 8]
  s: [0.33, 0.50, 1024, 12]
backbone:
  - [-1, 1, Conv, [head_channel, 3, 2]]
  - [-1, 1, Conv, [128, 3, 2]]
head:
  - [-1, 3, node_mode, [head_channel]]
  - [-1, 1, SameAttention, [8]]
  - [[1, 3], 1, Fusion, [head_channel]]
  - [[3, 4], 1, Detect, [nc]]
"""
NAMED = """
nc: 4
backbone:
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [32, 3, 2]]
  - [-1, 1, Named, []]
head:
  - [-1, 1, Conv, [64, 3, 2]]
  - [[2, 3], 1, Detect, [nc]]
"""
# By the names of the files: what their rows name.
CONFIGS = {
    "yolov8-plain.yaml": CONFIG.format(block="C2f", same="Named", same_args="[]", wide="Conv", head="Detect, [nc]"),
    "yolov8-added.yaml": CONFIG.format(
        block="C2f_Added", same="SameAttention", same_args="[8]", wide="Threshold", head="Detect, [nc]"
    ),
    "yolov8-focal-named.yaml": CONFIG.format(
        block="C3k2", same="FocalModulation", same_args="[]", wide="Threshold", head="Detect, [nc]"
    ),
    "yolov8-backbone.yaml": BACKBONE,
    "yolov8-keyed.yaml": KEYED,
    "yolov8-named.yaml": NAMED,
    "yolov8-absent.yaml": CONFIG.format(block="C2f", same="Named", same_args="[]", wide="Absent", head="Detect, [nc]"),
    **{
        f"yolov8-{task}.yaml": CONFIG.format(block="C2f", same="Named", same_args="[]", wide="Threshold", head=head)
        for task, head in {
            "detect": "IDetect, [nc]",
            "segment": "ISegment, [nc, 32, 64]",
            "pose": "IPose, [nc, kpt_shape]",
            "obb": "IOBB, [nc, 1]",
            "formless": "FormlessOutput, [nc]",
        }.items()
    },
}


def make(folder: Path) -> Path:
    """Write a fork of the installed Ultralytics with model YAML files, and return its folder.

    Beside it lies what the fork needs and the tests' environment does not have: the folder `present`.
    """
    import ultralytics

    root = folder / "ultralytics"
    shutil.copytree(Path(ultralytics.__file__).parent, root, ignore=shutil.ignore_patterns("__pycache__", "assets"))
    (root / "nn" / "modules" / "added.py").write_text(ADDED)
    (root / "nn" / "modules" / "absent.py").write_text(
        "import a_package_that_is_not_there as other\nfrom .conv import Conv\n\n\n"
        "class Absent(Conv):\n    norm = other.norm\n"
    )
    (folder / "present").mkdir()
    (folder / "present" / "a_package_that_is_not_there.py").write_text("norm = None\n")
    for name, text in CONFIGS.items():
        (root / "cfg" / "models" / name).write_text(text)
    for file, edits in EDITS.items():
        text = (root / file).read_text(encoding="utf-8")
        for old, new in edits:
            assert old in text, (file, old)
            text = text.replace(old, new)
        (root / file).write_text(text, encoding="utf-8")
    return folder

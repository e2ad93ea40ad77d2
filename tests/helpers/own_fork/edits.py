"""What a fork replaces in Ultralytics' own files."""

from __future__ import annotations

from own_fork.modules import HEADS

NAMES = "SameAttention, FocalModulation, C2f_Added, Threshold, Fusion, pyramid_small"
OWN_HEADS = "IDetect, Finder, ISegment, IPose, IOBB, FormlessOutput"
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
        elif m in {{SameAttention, FocalModulation, Named, Beside, Shown}}:
            c2 = ch[f]
            args = [c2, *args]
        elif m is Threshold:
            c1 = ch[f]
            c2 = make_divisible(min(args[0], max_channels) * width, 8)
            args = [c1, c2, threshold]
            legacy = False
        elif m in {{nn.Conv2d, GhostConv}}:
            c1, c2 = ch[f], args[0]
            args = [c1, c2, *args[1:]]
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
            "\nfrom ultralytics.nn.more import *\nfrom ultralytics.nn.beside import Beside"
            f"\nfrom ultralytics.nn.modules import (Absent, {NAMES}, {OWN_HEADS}, Named,",
        ),
        ("depth, width, max_channels = scales", "depth, width, max_channels, threshold = scales"),
        ("            Classify,\n            Conv,", "            C2f_Added, Absent, Classify, Conv,"),
        (
            "            BottleneckCSP,\n            C1,",
            "            C2f_Added,\n            BottleneckCSP,\n            C1,",
        ),
        ("            GhostConv,\n            Bottleneck,", "            Bottleneck,"),
        ("    ch = [ch]\n", "    ch = [ch]\n    backbone = False\n"),
        ("\n        elif m is AIFI:", BRANCHES),
        ("\n        m_ = torch.nn.Sequential(*(m(*args) for _ in range(n))) if n > 1 else m(*args)  # module\n", BUILD),
        ("m_.i, m_.f, m_.type = i,", "m_.i, m_.f, m_.type = i + 4 if backbone else i,"),
        ("x % i for", "x % (i + 4 if backbone else i) for"),
        ("        ch.append(c2)\n", "        ch.extend([0, *c2] if isinstance(c2, list) else [c2])\n"),
        ("\n            x = m(x)  # run\n            y", RUN),
    ],
}

"""A fork's model YAML files."""

from __future__ import annotations

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
# Modules of files elsewhere in nn, of torch, and of Ultralytics with a branch of its own: GhostConv is not scaled.
ELSEWHERE = """
nc: 4
scales:
  n: [0.33, 0.25, 1024, 8]
  s: [0.33, 0.50, 1024, 12]
backbone:
  - [-1, 1, Conv, [64, 3, 2]]
  - [-1, 1, GhostConv, [24, 3, 2]]
  - [-1, 1, Beside, []]
head:
  - [-1, 1, Shown, []]
  - [-1, 1, nn.Conv2d, [40, 1]]
  - [-1, 1, Conv, [64, 3, 2]]
  - [[4, 5], 1, Detect, [nc]]
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
    "yolov8-elsewhere.yaml": ELSEWHERE,
    "yolov8-keyed.yaml": KEYED,
    "yolov8-named.yaml": NAMED,
    "yolov8-short.yaml": KEYED.replace("SameAttention, [8]]", "SameAttention]"),
    "yolov8-absent.yaml": CONFIG.format(block="C2f", same="Named", same_args="[]", wide="Absent", head="Detect, [nc]"),
    **{
        f"yolov8-{task}.yaml": CONFIG.format(block="C2f", same="Named", same_args="[]", wide="Threshold", head=head)
        for task, head in {
            "detect": "Finder, [nc]",
            "segment": "ISegment, [nc, 32, 64]",
            "pose": "IPose, [nc, kpt_shape]",
            "obb": "IOBB, [nc, 1]",
            "formless": "FormlessOutput, [nc]",
        }.items()
    },
}

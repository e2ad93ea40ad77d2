"""The variants of C2Focal, controls of its size, and the ways to start FocalModulation; writes their model YAMLs.

python scripts/experiments/focal_variants.py [weights=yolov8n.pt] [images=photos] [data=a.yaml,b.yaml]

Prints a Markdown table of their sizes at the scale n and 640 pixels, then the commands that compare them and measure
their time. YOLO_FOCAL_MODULES= this file registers the modules. All but the starts begin as what they stand for, with a
factor of zero for what they add; the controls have as many parameters as C2Focal within 3 %.
"""

from __future__ import annotations

import os
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn
from ultralytics import YOLO
from ultralytics.nn.modules import SPPF, C2f
from ultralytics.nn.modules.block import Attention
from ultralytics.utils.torch_utils import get_flops

import yolo_focal
from yolo_focal import C2Focal, FocalModulation
from yolo_focal.hook import configs
from yolo_focal.twin import config
from yolo_focal.twin.graft import pass_through


class _Control(C2Focal):
    """C2Focal with another token mixer in the place of FocalModulation."""

    mixer: Callable[[int], nn.Module]

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        for block in self.blocks:
            hidden = block.norm.weight.shape[0]
            parts = OrderedDict(modulation=self.mixer(hidden), bn=nn.BatchNorm2d(hidden))
            block.focal = nn.Sequential(parts)  # type: ignore[arg-type]


class C2Depthwise(_Control):
    """A depthwise 7x7 convolution, FocalModulation's first kernel, between two 1x1 convolutions."""

    @staticmethod
    def mixer(dim: int) -> nn.Module:
        """Return the convolutions."""
        depthwise = nn.Conv2d(2 * dim, 2 * dim, 7, padding=3, groups=2 * dim, bias=False)
        return nn.Sequential(nn.Conv2d(dim, 2 * dim, 1), depthwise, nn.GELU(), nn.Conv2d(2 * dim, dim, 1))


class C2Attention(_Control):
    """C2PSA's attention, with wider queries and keys than there to have FocalModulation's size."""

    @staticmethod
    def mixer(dim: int) -> nn.Module:
        """Return the attention."""
        return Attention(dim, num_heads=max(dim // 64, 1), attn_ratio=1.5)


class C2fResidual(C2f):
    """A plain C2f of C2Focal's size, as a residual that starts as nothing."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim, dim, 1, True, 1, 0.365)
        self.bn = nn.BatchNorm2d(dim)
        nn.init.zeros_(self.bn.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output, of the input's shape."""
        return x + self.bn(super().forward(x))


class SPPFFocal(SPPF):
    """SPPF with FocalModulation beside it: SPPF's tensors keep their names, so that its weights carry over."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim, dim)
        self.cv1.act = nn.SiLU()  # as Ultralytics' parser sets it for the SPPF of YOLOv8 and YOLO11
        self.focal = FocalModulation(dim)
        self.bn = nn.BatchNorm2d(dim)
        nn.init.zeros_(self.bn.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output, of the input's shape."""
        return super().forward(x) + self.bn(self.focal(x))


class IdentityFocal(FocalModulation):
    """FocalModulation that starts as the identity."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        pass_through(self)


class ZeroFocal(FocalModulation):
    """FocalModulation whose output starts as zero."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        for parameter in self.proj.parameters():
            nn.init.zeros_(parameter)


# What the row behind SPPF, or behind another index, has; of the starts, the row in SPPF's place.
VARIANTS = {
    "neck-p5": ("21", "C2Focal", ""),
    "neck-p4": ("18", "C2Focal", ""),
    **{f"levels-{level}": ("SPPF", "C2Focal", f"{{focal_level: {level}}}") for level in (1, 3, 4)},
    **{f"window-{window}": ("SPPF", "C2Focal", f"{{focal_window: {window}}}") for window in (3, 5, 9)},
    "layernorm": ("SPPF", "C2Focal", "{norm: layer}"),
    **{f"scale-{scale}": ("SPPF", "C2Focal", f"{{layer_scale: {scale}}}") for scale in (0.01, 0.1)},
    "control-depthwise": ("SPPF", "C2Depthwise", ""),
    "control-attention": ("SPPF", "C2Attention", ""),
    "control-c2f": ("SPPF", "C2fResidual", ""),
    "beside": ("", "SPPFFocal", ""),
}
STARTS = {
    "identity": ("", "IdentityFocal", ""),
    "zero": ("", "ZeroFocal", ""),
    "postln": ("", "FocalModulation", "{use_postln: true}"),
}


def main(weights: str = "yolov8n.pt", images: str = "photos", data: str = "my.yaml") -> None:
    """Write the files; print the table and the commands."""
    stock = config.read(configs.model("yolov8.yaml"))
    Path("variants").mkdir(exist_ok=True)
    models = {}
    for name, (after, module, arguments) in {**VARIANTS, **STARTS}.items():
        twin = config.twin(stock, "yolov8.yaml", after=after, module=module)
        text = twin.text.replace(f"{module}, []", f"{module}, [{arguments}]")
        Path(f"variants/yolov8-{name}.yaml").write_text(text, encoding="utf-8")
        models[name] = f"variants/yolov8n-{name}.yaml"
    packaged = [f"{family}n{suffix}.yaml" for family in ("yolo11", "yolo26") for suffix in ("", "-c2focal")]
    print("| model | parameters | GFLOPs |\n| --- | --- | --- |")
    for file in ("yolov8n.yaml", "yolov8n-focal.yaml", "yolov8n-c2focal.yaml", *packaged, *models.values()):
        network = YOLO(file, verbose=False).model
        count = sum(parameter.numel() for parameter in network.parameters())
        print(f"| {Path(file).stem} | {count:,} | {get_flops(network, 640):.2f} |", flush=True)
    variants, starts = (",".join(models[name] for name in names) for names in (VARIANTS, STARTS))
    print(f"\nexport YOLO_FOCAL_MODULES={Path(__file__).resolve()}")
    print(f"python scripts/benchmark.py part=model models=yolov8n-focal.yaml,yolov8n-c2focal.yaml,{variants}")
    print(f"yolo-focal derive model={weights} images={images} save=warm.pt")
    # Which start, and which variant: 3 seeds; the mean over the data sets decides. Then the best two with fresh seeds.
    # A checkpoint starts from its own weights, so those are compared without pretrained=.
    for file in data.split(","):
        name, compare = Path(file).stem, f"yolo-focal compare data={file} epochs=12"
        print(f"\n{compare} models={weights},warm.pt seeds=3 imgsz=256 name=starts-warm-{name}")
        print(f"{compare} models={weights},warm.pt seed=3 seeds=5 imgsz=160 name=warm-{name}")
        compare += f" pretrained={weights}"
        print(f"{compare} models=yolov8n.yaml,yolov8n-focal.yaml,{starts} seeds=3 imgsz=256 name=starts-{name}")
        print(f"{compare} models=yolov8n.yaml,yolov8n-c2focal.yaml,{variants} seeds=3 imgsz=160 name=choose-{name}")
        print(f"{compare} models=yolov8n.yaml,BEST,SECOND seed=3 seeds=8 imgsz=160 name=confirm-{name}")


if __name__ == "__main__":
    os.environ.setdefault("YOLO_FOCAL_MODULES", __file__)  # what is defined in a script is not there for its processes
    main(**dict(argument.split("=", 1) for argument in sys.argv[1:]))
else:
    for kind in (C2Depthwise, C2Attention, C2fResidual, SPPFFocal, IdentityFocal, ZeroFocal):
        yolo_focal.register(kind, channels="same")  # C2f's and SPPF's subclasses too: their constructors take one width

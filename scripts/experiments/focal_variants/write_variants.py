"""Write the variants of C2Focal and their controls, their sizes, and the commands that compare them.

python scripts/experiments/focal_variants/write_variants.py [dir=variants] [weights=yolov8n.pt] [data=a.yaml,b.yaml]
    [images=photos] [imgsz=192] [epochs=12]

Nothing is trained here. All are at the scale n. The GFLOPs are those at 640 pixels. With weights= the variants of
YOLOv8 are checkpoints that start with these weights. The bare module is then fitted to images=, and left out without
them.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

MODULES = Path(__file__).with_name("focal_controls.py")
os.environ.setdefault("YOLO_FOCAL_MODULES", str(MODULES))

from ultralytics import YOLO  # noqa: E402  the variable must be set before
from ultralytics.utils.torch_utils import get_flops  # noqa: E402

from yolo_focal.hook import configs  # noqa: E402
from yolo_focal.twin import config  # noqa: E402
from yolo_focal.twin.checkpoint import derive_checkpoint  # noqa: E402


class Variant(NamedTuple):
    """A model of the comparison.

    Attributes:
        name: What its file's name ends with.
        change: The arguments of `config.twin`.
        original: The stock model.
    """

    name: str
    change: dict[str, Any]
    original: str = "yolov8"


def _c2focal(name: str, after: str = "SPPF", **arguments: Any) -> Variant:
    return Variant(name, {"after": after, "module": "C2Focal", "arguments": [arguments] if arguments else []})


VARIANTS = [
    Variant("bare", {}),
    Variant("beside", {"module": "SPPFFocal"}),
    _c2focal("c2focal"),
    _c2focal("neck-p5", after="21"),
    _c2focal("neck-p4", after="18"),
    *(_c2focal(f"levels-{level}", focal_level=level) for level in (1, 3, 4)),
    *(_c2focal(f"window-{window}", focal_window=window) for window in (3, 5, 9)),
    _c2focal("layernorm", norm="layer"),
    _c2focal("scale-001", layer_scale=0.01),
    _c2focal("scale-01", layer_scale=0.1),
    *(
        Variant(f"control-{name}", {"after": "SPPF", "module": module})
        for name, module in (("depthwise", "C2Depthwise"), ("attention", "C2Attention"), ("c2f", "C2fResidual"))
    ),
    *(Variant("c2focal", {"replace": "C2PSA", "module": "C2Focal"}, family) for family in ("yolo11", "yolo26")),
]


def main(
    dir: str = "variants",  # noqa: A002
    weights: str = "",
    images: str = "",
    data: str = "my.yaml",
    imgsz: str = "192",
    epochs: str = "12",
) -> None:
    """Write the files and print a Markdown table, then the commands."""
    folder = Path(dir)
    folder.mkdir(parents=True, exist_ok=True)
    models: dict[str, list[str]] = {}
    print("| model | what is new | parameters | GFLOPs |\n| --- | --- | --- | --- |")
    for original in ["yolov8"] if weights else dict.fromkeys(variant.original for variant in VARIANTS):
        models[original] = [weights or f"{original}n.yaml"]
        print(_row(models[original][0], "nothing"))
        for variant in (variant for variant in VARIANTS if variant.original == original):
            if weights and not variant.change and not images:
                continue
            model, change = _write(variant, folder, weights, images)
            models[original].append(str(model))
            print(_row(str(model), change), flush=True)
    print("\n# First, to choose: all of them, 3 seeds; the mean over the data sets decides.")
    print(f"export YOLO_FOCAL_MODULES={MODULES}")
    common = f"imgsz={imgsz} epochs={epochs}"
    for file in data.split(","):
        for original, names in models.items():
            name = f"choose-{original}-{Path(file).stem}"
            print(f"yolo-focal compare data={file} models={','.join(names)} seeds=3 {common} name={name}")
    print("\n# Then the best two and the original with 8 fresh seeds, and Holm over what is claimed.")
    for file in data.split(","):
        names = f"{models['yolov8'][0]},BEST,SECOND"
        print(f"yolo-focal compare data={file} models={names} seed=3 seeds=8 {common} name=confirm-{Path(file).stem}")


def _write(variant: Variant, folder: Path, weights: str, images: str) -> tuple[Path, str]:
    """Write a variant's YAML or checkpoint; return it, as `yolo train` takes it, and what is new in it."""
    name = f"{variant.original}.yaml"
    twin = config.twin(config.read(configs.model(name)), name, **variant.change)
    model = folder / f"{variant.original}n-{variant.name}"
    if weights:
        path = model.with_suffix(".pt")
        path.unlink(missing_ok=True)
        derive_checkpoint(weights, path, "" if variant.change else images, **variant.change)
        return path, twin.changes[0]
    (folder / f"{variant.original}-{variant.name}.yaml").write_text(twin.text, encoding="utf-8")
    return model.with_suffix(".yaml"), twin.changes[0]


def _row(model: str, change: str) -> str:
    """Return a row of the table."""
    network = YOLO(model, verbose=False).model
    count = sum(parameter.numel() for parameter in network.parameters())
    return f"| {Path(model).stem} | {change} | {count:,} | {get_flops(network, 640):.2f} |"


if __name__ == "__main__":
    main(**dict(argument.split("=", 1) for argument in sys.argv[1:]))

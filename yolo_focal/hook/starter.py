"""Writes a file of a user's own modules to start from."""

from __future__ import annotations

import keyword
from pathlib import Path

from yolo_focal import environment
from yolo_focal.errors import ConfigError
from yolo_focal.hook.modules import finder

_TEXT = '''"""Modules of my own for model YAML files."""

import yolo_focal
from torch import nn


# The line above the class says which arguments the class gets from the row of the YAML file.
#
# @yolo_focal.register                       row: [-1, 1, NAME, [3]]
#     NAME(dim, 3): the channels of the layer that the row reads come first; as many go out.
# @yolo_focal.register(like="Conv")          row: [-1, 1, NAME, [256, 3]]
#     NAME(c1, c2, 3), read by Ultralytics as a Conv row is: c2 is 256, scaled by n, s, m, l or x.
# @yolo_focal.register(like="C2f")           row: [-1, 6, NAME, [256, True]]
#     NAME(c1, c2, n, True), read as a C2f row is: n is 6, scaled. Not needed if the class inherits from C2f.
# @yolo_focal.register(channels=rule)        any row; it may read several layers
#     rule(channels, args, scaling) returns the row's output channels and the list of the class's arguments.
@yolo_focal.register
class NAME(nn.Module):
    """A residual block: a depthwise convolution, a normalisation and two 1x1 convolutions."""

    def __init__(self, dim, kernel=3):
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv2d(dim, dim, kernel, padding=kernel // 2, groups=dim, bias=False),
            nn.BatchNorm2d(dim),
            nn.Conv2d(dim, 2 * dim, 1),
            nn.SiLU(),
            nn.Conv2d(2 * dim, dim, 1),
        )

    def forward(self, x):
        # x has the shape (batch, channels, height, width).
        return x + self.block(x)
'''


def write(file: str, name: str) -> list[str]:
    """Write a commented file with a module to start from.

    Args:
        file: The file, such as `my_blocks.py`; its name is what Python imports it by.
        name: The class's name.

    Returns:
        What to do next, line by line.

    Raises:
        ConfigError: The file exists or cannot be imported by its name, or the name is no class name or taken.
    """
    path = Path(file).expanduser()
    stem = path.stem
    if path.suffix != ".py" or not _is_name(stem):
        raise ConfigError(
            f"yolo-focal new: {file}: write a file name of letters, digits and underscores, such as my_blocks.py"
        )
    if path.exists():
        raise ConfigError(
            f"yolo-focal new: {file}: there is a file of that name, which is left as it is; write another"
        )
    if not path.parent.is_dir():
        raise ConfigError(f"yolo-focal new: {file}: there is no folder {path.parent}; make it first")
    elsewhere = finder.find_elsewhere(stem, path.parent)
    if elsewhere is not None:
        raise ConfigError(
            f"yolo-focal new: {file}: Python imports another module by the name {stem}, {elsewhere}; write another name"
        )
    if not _is_name(name):
        raise ConfigError(
            f"yolo-focal new: name={name}: write a class name of letters, digits and underscores, such as name=MyBlock"
        )
    if _is_ultralytics(name):
        raise ConfigError(f"yolo-focal new: name={name}: Ultralytics has a module of that name; write another")
    path.write_text(_TEXT.replace("NAME", name), encoding="utf-8")
    return [
        f"{file}: written, with the module {name}",
        "Put its row into a model YAML, such as a copy of Ultralytics' yolov8.yaml saved as my-model.yaml:",
        f"  - [-1, 1, {name}, []]",
        "and train:",
        f"  {environment.MODULES}={file} yolo train model=my-model.yaml data=shapes.yaml epochs=1 imgsz=128",
        f"  (on Windows: set {environment.MODULES}={file} first)",
    ]


def _is_name(name: str) -> bool:
    return name.isidentifier() and not keyword.iskeyword(name)


def _is_ultralytics(name: str) -> bool:
    from ultralytics.nn import tasks  # imported only when needed: it takes seconds

    return name in vars(tasks)

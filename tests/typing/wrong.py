"""A user's mistakes, each of which type checkers must find: the lines that end in `# wrong`."""

from torch import nn

import yolo_focal


class Plain(nn.Module): ...


yolo_focal.FocalModulation("64")  # wrong
yolo_focal.FocalModulation(64, 0.0, 2, 7, 2, False, True)  # wrong
yolo_focal.C2Focal(64, layer_scale="0")  # wrong
yolo_focal.register(Plain, repeat=True)  # wrong
yolo_focal.register(channels=3)  # wrong
yolo_focal.visualize("best.pt")  # wrong
yolo_focal.compare("my.yaml", 5)  # wrong
yolo_focal.Scaling(0.25, 1024)  # wrong
length: int = yolo_focal.__version__  # wrong
nothing = yolo_focal.nothing  # wrong

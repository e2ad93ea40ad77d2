# A channel attention that keeps its pooling's name in an attribute called type.
import torch
from torch import nn

import yolo_focal


@yolo_focal.register
class ChannelGate(nn.Module):
    def __init__(self, channel, reduction=4, type="avg"):  # noqa: A002
        super().__init__()
        self.type = type
        self.fc = nn.Sequential(
            nn.Linear(channel, channel // reduction), nn.ReLU(inplace=True), nn.Linear(channel // reduction, channel)
        )

    def forward(self, x):
        b, c, _, _ = x.size()
        if self.type == "avg":
            y = x.mean((2, 3))
        elif self.type == "max":
            y = x.amax((2, 3))
        else:
            raise ValueError(self.type)
        return x * torch.sigmoid(self.fc(y)).view(b, c, 1, 1)

# A weighted concatenation of several layers.
import torch
import torch.nn as nn

import yolo_focal


@yolo_focal.register(channels=lambda channels, args, _: (sum(channels), args))
class BiFPN_Concat(nn.Module):  # noqa: N801
    def __init__(self, dimension=1):
        super().__init__()
        self.d = dimension
        self.w = nn.Parameter(torch.ones(2, dtype=torch.float32), requires_grad=True)
        self.epsilon = 0.0001

    def forward(self, x):
        w = self.w
        weight = w / (torch.sum(w, dim=0) + self.epsilon)
        x = [weight[0] * x[0], weight[1] * x[1]]
        return torch.cat(x, self.d)

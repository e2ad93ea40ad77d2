# Focal modulation as tutorials have it: linear layers on channels-last maps, and a submodule called f.
import torch
import torch.nn as nn

import yolo_focal


@yolo_focal.register(name="FocalLinear")
class FocalModulation(nn.Module):
    def __init__(self, dim, focal_window=3, focal_level=2, focal_factor=2, bias=True, proj_drop=0.0):
        super().__init__()
        self.dim = dim
        self.focal_level = focal_level
        self.f = nn.Linear(dim, 2 * dim + (focal_level + 1), bias=bias)
        self.h = nn.Conv2d(dim, dim, kernel_size=1, stride=1, bias=bias)
        self.act = nn.GELU()
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(proj_drop)
        self.focal_layers = nn.ModuleList()
        for k in range(focal_level):
            kernel_size = focal_factor * k + focal_window
            self.focal_layers.append(
                nn.Sequential(
                    nn.Conv2d(dim, dim, kernel_size, stride=1, groups=dim, padding=kernel_size // 2, bias=False),
                    nn.GELU(),
                )
            )

    def forward(self, x):
        x = self.f(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).contiguous()
        q, ctx, gates = torch.split(x, (self.dim, self.dim, self.focal_level + 1), 1)
        ctx_all = 0
        for l in range(self.focal_level):  # noqa: E741
            ctx = self.focal_layers[l](ctx)
            ctx_all = ctx_all + ctx * gates[:, l : l + 1]
        ctx_global = self.act(ctx.mean(2, keepdim=True).mean(3, keepdim=True))
        ctx_all = ctx_all + ctx_global * gates[:, self.focal_level :]
        self.modulator = self.h(ctx_all)
        x_out = (q * self.modulator).permute(0, 2, 3, 1)
        return self.proj_drop(self.proj(x_out)).permute(0, 3, 1, 2)

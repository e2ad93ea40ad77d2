"""FocalBlock, the block of FocalNet (arXiv 2203.11926, section 3.3): FocalModulation and an MLP, each in a residual.

Differences from the paper's code: maps stay `(B, dim, H, W)`, and the linear layers of the MLP are 1x1 convolutions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolo_focal.arguments import flag, positive, probability
from yolo_focal.focal.modulation import FocalModulation
from yolo_focal.focal.norm import FocalNorm

__all__ = ["DropPath", "FocalBlock", "LayerScale", "Mlp"]


class FocalBlock(nn.Module):
    """A block of FocalNet: `x + FM(norm(x))`, then `x + MLP(norm(x))`.

    With `use_postln` the norms follow FocalModulation and the MLP, as in the large variants.

    Args:
        dim: Channels of the input and of the output.
        focal_level: Number of focal levels of the FocalModulation.
        focal_window: Kernel size of the first focal level; odd. Each further level's is larger by 2.
        mlp_ratio: The MLP's hidden channels as a multiple of `dim`.
        drop_path: Probability to leave out a residual branch for an image of the batch during training.
        use_postln: Apply the norms behind FocalModulation and the MLP instead of before.
        use_postln_in_modulation: Apply a LayerNorm inside the FocalModulation, as in the huge variant.
        normalize_modulator: Divide the modulator's sum by its number of terms.
        layerscale_value: Initial value of a learned factor for each channel of a branch; None for no factor.

    Shape:
        Input and output: `(B, dim, H, W)`.
    """

    __module__ = "yolo_focal.focal"  # checkpoints name the class by this path

    def __init__(
        self,
        dim: int,
        focal_level: int = 2,
        focal_window: int = 3,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        *,
        use_postln: bool = False,
        use_postln_in_modulation: bool = False,
        normalize_modulator: bool = False,
        layerscale_value: float | None = None,
    ) -> None:
        super().__init__()
        self.use_postln = flag("use_postln", use_postln)
        self.norm1 = FocalNorm(dim)
        self.modulation = FocalModulation(
            dim,
            focal_level=focal_level,
            focal_window=focal_window,
            use_postln=use_postln_in_modulation,
            normalize_modulator=normalize_modulator,
        )
        self.ls1: nn.Module = LayerScale(dim, layerscale_value) if layerscale_value is not None else nn.Identity()
        self.norm2 = FocalNorm(dim)
        self.mlp = Mlp(dim, mlp_ratio)
        self.ls2: nn.Module = LayerScale(dim, layerscale_value) if layerscale_value is not None else nn.Identity()
        self.drop_path = DropPath(drop_path)
        # The paper's code draws the weights of its linear layers, two of which FocalModulation has, from this
        # distribution, and leaves convolutions as PyTorch makes them.
        for linear in (self.modulation.proj_in, self.modulation.proj, self.mlp.fc1, self.mlp.fc2):
            nn.init.trunc_normal_(linear.weight, std=0.02)
            if linear.bias is not None:
                nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output, `(B, dim, H, W)` like the input."""
        if self.use_postln:
            x = x + self.drop_path(self.ls1(self.norm1(self.modulation(x))))
            return x + self.drop_path(self.ls2(self.norm2(self.mlp(x))))  # type: ignore[no-any-return]
        x = x + self.drop_path(self.ls1(self.modulation(self.norm1(x))))
        return x + self.drop_path(self.ls2(self.mlp(self.norm2(x))))  # type: ignore[no-any-return]


class Mlp(nn.Module):
    """The MLP of a block: two 1x1 convolutions with a GELU between them.

    Args:
        dim: Channels of the input and of the output.
        ratio: The hidden channels as a multiple of `dim`; positive.
    """

    __module__ = "yolo_focal.focal"

    def __init__(self, dim: int, ratio: float = 4.0) -> None:
        super().__init__()
        hidden = int(dim * positive("mlp_ratio", ratio, 4.0))
        if hidden < 1:
            raise ValueError(f"mlp_ratio={ratio!r}: the MLP of {dim} channels would have none inside; write 4.0")
        self.fc1 = nn.Conv2d(dim, hidden, 1)
        self.act = nn.GELU()
        self.fc2 = nn.Conv2d(hidden, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the MLP's output at each position, `(B, dim, H, W)`."""
        return self.fc2(self.act(self.fc1(x)))  # type: ignore[no-any-return]


class LayerScale(nn.LayerNorm):
    """A learned factor for each channel (arXiv 2103.17239).

    It normalises nothing. It is a LayerNorm by type, because Ultralytics' optimizer spares parameters from weight decay
    by their module's type, and the paper's code spares these factors.

    Args:
        dim: Number of channels.
        value: Initial value of each factor.
    """

    __module__ = "yolo_focal.focal"

    def __init__(self, dim: int, value: float) -> None:
        super().__init__(dim, elementwise_affine=False)
        self.gamma = nn.Parameter(torch.full((dim,), positive("layerscale_value", value, 1e-4)))

    def forward(self, x: Tensor) -> Tensor:
        """Return the map with each channel multiplied by its factor."""
        return x * self.gamma[:, None, None]

    def extra_repr(self) -> str:
        """Return what a printed model says of it."""
        return f"{len(self.gamma)}"


class DropPath(nn.Module):
    """Stochastic depth (arXiv 1603.09382): sets a branch to zero for some images of a batch during training.

    What is kept is divided by the probability of keeping it, so that its expectation stays.

    Args:
        drop: Probability to drop, from 0 up to but not including 1.
    """

    __module__ = "yolo_focal.focal"

    def __init__(self, drop: float = 0.0) -> None:
        super().__init__()
        self.probability = probability("drop_path", drop)

    def forward(self, x: Tensor) -> Tensor:
        """Return the branch, without change in evaluation mode."""
        if not self.training or not self.probability:
            return x
        keep = 1 - self.probability
        mask = torch.empty((x.shape[0], 1, 1, 1), dtype=x.dtype, device=x.device).bernoulli_(keep)
        return x * mask.div_(keep)

    def extra_repr(self) -> str:
        """Return what a printed model says of it."""
        return f"{self.probability}"

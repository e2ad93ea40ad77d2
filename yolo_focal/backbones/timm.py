"""Any model of timm that returns feature maps, as one layer, and each of its maps as another.

timm is imported when the first of these layers is built: it is an optional dependency. A checkpoint holds the model's
name and its weights, and not timm's classes, so that it loads whichever release of timm is installed, with restricted
loading too.
"""

from __future__ import annotations

import copy
import difflib
import functools
import logging
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from yolo_focal.arguments import flag
from yolo_focal.errors import ConfigError, one_line

_NEEDED = {8, 16, 32}  # strides of the maps that YOLO's heads are built on
_TRIED = ((128, 128), (288, 352))  # heights and widths, odd multiples of 32 among them
_SUITABLE = "resnet50, convnext_tiny, mobilenetv4_conv_small or focalnet_tiny_lrf"


class Map(NamedTuple):
    """A feature map of a timm model.

    Attributes:
        stride: Pixels of the image for each position.
        channels: Its channels.
        out_index: Its index among all maps that timm's model has.
    """

    stride: int
    channels: int
    out_index: int


class Timm(nn.Module):
    """A model of timm without its classifier, which returns its feature maps.

    The images, with values from 0 to 1, are normalised by the mean and the deviation that the model was trained with.
    Its norms keep their own `eps` and `momentum`, which Ultralytics sets for its own models.

    Args:
        c1: Channels of the images.
        name: timm's name, such as `convnext_tiny` or `resnet50.a1_in1k`, of a model that takes images of any size and
            has maps of the strides 8, 16 and 32.
        pretrained: Start from timm's weights, which timm downloads once; by default from random ones, which the log
            then says. None is for random ones that a checkpoint's will replace.

    Raises:
        ConfigError: timm is not installed, has no such model or none of its weights here, or the model does not suit.

    Shape:
        Input `(B, c1, H, W)`; output a list of maps `(B, channels, H / stride, W / stride)`, the finest first, as
        `feature_maps` describes them.
    """

    __module__ = "yolo_focal.backbones"  # checkpoints name the class by this path
    mean: Tensor
    std: Tensor

    def __init__(self, c1: int, name: str, pretrained: bool | None = False) -> None:
        super().__init__()
        self.c1, self.name = c1, name
        self.out_indices = tuple(map_.out_index for map_ in feature_maps(name))
        self.network = self._create(pretrained is not None and flag("pretrained", pretrained))
        for statistic in ("mean", "std"):
            of_rgb = self.network.pretrained_cfg[statistic]
            value = of_rgb if c1 == len(of_rgb) else [sum(of_rgb) / len(of_rgb)] * c1  # as timm adapts the weights
            self.register_buffer(statistic, torch.tensor(value).view(c1, 1, 1))
        if pretrained is False:
            logging.getLogger("ultralytics").info(
                f"yolo-focal: {name} starts from random weights; write {[name, True]} in its row for those of timm"
            )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the maps, the finest first."""
        return self.network((x - self.mean) / self.std)  # type: ignore[no-any-return]

    def _create(self, pretrained: bool) -> Any:
        """Return timm's model with the maps that the layer returns."""
        network = _features(self.name, in_chans=self.c1, pretrained=pretrained, out_indices=self.out_indices)
        for module in network.modules():
            if type(module) in _KEPT:
                module.__class__ = _KEPT[type(module)]
        return network

    def __getstate__(self) -> dict[str, Any]:
        """Return the layer with its network's weights in the network's place, and which of them are trained."""
        trained = [name for name, parameter in self.network.named_parameters() if parameter.requires_grad]
        layer = {**self.__dict__, "_modules": {}}
        return {"layer": layer, "weights": self.network.state_dict(), "trained": trained}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Build the network and give it the weights, in their precision.

        Raises:
            ConfigError: The installed timm's model has other weights.
        """
        super().__setstate__(state["layer"])  # type: ignore[no-untyped-call]
        with torch.random.fork_rng(devices=[]):  # a checkpoint that is loaded changes no random number behind it
            network = self._create(pretrained=False)
        dtype = next(tensor.dtype for tensor in state["weights"].values() if tensor.is_floating_point())
        network.to(device=self.mean.device, dtype=dtype)
        try:
            network.load_state_dict(state["weights"])
        except RuntimeError as error:
            raise ConfigError(
                f"{self.name}: the checkpoint's weights are not those of the installed timm's model "
                f"({one_line(error)[:120]}); install the timm that it was trained with"
            ) from error
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(name in state.get("trained", state["weights"]))  # the first checkpoints do not say
        self.network = network.train(self.training)

    def __deepcopy__(self, memo: dict[int, Any]) -> Timm:
        """Copy the network as it is, which `__getstate__` would build anew."""
        copied = memo[id(self)] = type(self).__new__(type(self))
        copied.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return copied


class TimmMap(nn.Module):
    """One of the maps that a Timm layer returns.

    Args:
        index: Its index in the list.
    """

    __module__ = "yolo_focal.backbones"  # checkpoints name the class by this path

    def __init__(self, index: int) -> None:
        super().__init__()
        self.index = index

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Return the map."""
        return maps[self.index]


@functools.cache
def feature_maps(name: str) -> tuple[Map, ...]:
    """Return the maps of a timm model that a Timm layer returns: the last of each stride from 4 on.

    timm says which there are; whether they have the sizes that it says is tried on two images.

    Args:
        name: timm's name of the model.

    Raises:
        ConfigError: timm is not installed, has no such model, or the model does not suit.
    """
    with torch.random.fork_rng(devices=[]):  # the layer that is built next is initialised as if this had not been
        network = _features(name).eval()
    info = network.feature_info
    found = zip(info.reduction(), info.channels(), info.out_indices, strict=True)
    maps = {stride: Map(stride, channels, index) for stride, channels, index in found if stride >= 4}
    if not maps.keys() >= _NEEDED:
        strides = ", ".join(map(str, sorted(set(info.reduction()))))
        raise ConfigError(f"{name} has maps of stride {strides}; write a model with 8, 16 and 32, such as {_SUITABLE}")
    for height, width in _TRIED:
        expected = [f"{height // stride}x{width // stride}" for stride in info.reduction()]
        try:
            with torch.no_grad():
                outputs = network(torch.zeros(1, 3, height, width))
        except Exception as error:  # whatever the model raises on a size that it cannot take
            raise ConfigError(
                f"{name} does not take images of {height}x{width} pixels ({type(error).__name__}: "
                f"{one_line(error)[:120]}); write a model that takes any size, such as {_SUITABLE}"
            ) from error
        sizes = ["x".join(map(str, output.shape[-2:])) for output in outputs]
        if sizes != expected:
            raise ConfigError(
                f"{name} makes maps of {', '.join(sizes)} of an image of {height}x{width} pixels, and not "
                f"{', '.join(expected)} as its strides say; write another model, such as {_SUITABLE}"
            )
    return tuple(maps.values())


def _features(name: str, pretrained: bool = False, **arguments: Any) -> Any:
    """Return timm's model without its classifier.

    Raises:
        ConfigError: timm is not installed, has no such model, no maps of it, or its weights are not here.
    """
    timm = _timm()
    if name not in _names() and ("." in str(name) or not timm.is_model(name)):  # it has older names too
        close = difflib.get_close_matches(str(name), sorted(_names()), n=3) or [_SUITABLE]
        raise ConfigError(f"timm has no model {name!r}; write a name of timm.list_models(), such as {', '.join(close)}")
    try:
        return timm.create_model(name, features_only=True, pretrained=pretrained, **arguments)
    except Exception as error:  # whatever timm, the hub or the network raise
        config = timm.get_pretrained_cfg(name)
        if not pretrained:
            raise ConfigError(f"{name} returns no maps ({one_line(error)}); write one such as {_SUITABLE}") from error
        if not config.has_weights:
            raise ConfigError(f"{name}: timm has no weights of it; write {[name, False]} in its row") from error
        raise ConfigError(
            f"{name}: timm's weights are not here and could not be downloaded: model.safetensors of "
            f"{config.hf_hub_id} at huggingface.co ({one_line(error)[:120]}); run `hf download {config.hf_hub_id}` "
            f"where there is a network, or write {[name, False]} in its row to start from random weights"
        ) from error


@functools.cache
def _names() -> set[str]:
    """Return timm's names of its models, and those with the weights' name behind a dot."""
    timm = _timm()
    return {*timm.list_models(), *timm.list_models(pretrained=True)}


def _timm() -> ModuleType:
    """Import timm.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        import timm
    except ImportError as error:
        raise ConfigError("this model has a backbone of timm, which is not installed: pip install timm") from error
    return timm


# Ultralytics gives the layers of a new model its own `eps`, `momentum` and `inplace` where they are exactly of these
# classes. timm's weights are trained with timm's: so these layers are of subclasses, which compute the same.
_KEPT: dict[type[nn.Module], type[nn.Module]] = {
    cls: type(cls.__name__, (cls,), {"__module__": __name__})
    for cls in (nn.BatchNorm2d, nn.Hardswish, nn.LeakyReLU, nn.ReLU, nn.ReLU6, nn.SiLU)
}

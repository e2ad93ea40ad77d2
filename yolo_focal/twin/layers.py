"""Observes layers of a network while it runs, and checks that they return maps of their input's shape."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from ultralytics.nn.tasks import BaseModel, guess_model_scale, parse_model

from yolo_focal.errors import ConfigError, one_line
from yolo_focal.hook import configs
from yolo_focal.hook.modules import registry

SIDE = 256  # of the image that shapes are checked with, as Ultralytics computes strides; a multiple of every stride

# Inputs and outputs of a layer: a pair for each input size, (B, C, H, W), in bfloat16, which has float32's range.
Maps = list[tuple[Tensor, Tensor]]
# A layer's index, and what it makes of its input, such as "16x64x64 of 16x128x128" -> a message
Refusal = Callable[[int, str], str]


class _StopForward(Exception):  # noqa: N818  not an error: it ends a forward pass early
    pass


@torch.no_grad()
def observe(
    network: Any,
    indices: list[int],
    batches: Iterable[Tensor],
    observer: Callable[[Any, tuple[Any, ...], Any], None],
) -> None:
    """Run a network up to the last of some layers.

    Args:
        network: An Ultralytics network.
        indices: The layers' indices.
        batches: The network's inputs.
        observer: Called after each of the layers with the layer, its inputs and its output.
    """

    def hook(layer: Any, inputs: tuple[Any, ...], output: Any) -> None:
        observer(layer, inputs, output)
        if layer.i == max(indices):
            raise _StopForward

    device = next(network.parameters()).device
    hooks = [network.model[index].register_forward_hook(hook) for index in indices]
    try:
        for batch in batches:
            with contextlib.suppress(_StopForward):
                network(batch.to(device))
    finally:
        for handle in hooks:
            handle.remove()


def check_shapes(network: Any, indices: list[int], refusal: Refusal) -> None:
    """Check that layers return one feature map of their input's shape.

    Args:
        network: An Ultralytics network that was built from a model YAML.
        indices: The layers' indices.
        refusal: What to say of a layer that does not.

    Raises:
        ConfigError: A layer returns something else.
    """

    def check(layer: Any, inputs: tuple[Any, ...], output: Any) -> None:
        before, after = (tuple(x.shape[1:]) if isinstance(x, Tensor) else None for x in (inputs[0], output))
        if before is None or before != after:
            raise ConfigError(refusal(layer.i, f"{_shape(output)} of {_shape(inputs[0])}"))

    channels = configs.input_channels(network.yaml)
    dtype = next(network.parameters()).dtype
    observe(network, indices, [torch.zeros(1, channels, SIDE, SIDE, dtype=dtype)], check)


def old(file: str, replace: str, module: str = "FocalModulation") -> Refusal:
    """Return what to say where a module cannot be replaced, as it does not keep the shape.

    Args:
        file: The name of the network's checkpoint or YAML.
        replace: The module to replace.
        module: The module that replaces it.
    """
    return lambda row, made: (
        f"{file}, row {row}: {replace} makes {made}, and {module} keeps the shape of one map; "
        "write replace= with a module that does"
    )


def check_new(config: dict[str, Any], indices: list[int], file: str, module: str) -> None:
    """Check that the new rows of a twin keep the shape of their input; those of this package's own modules do.

    Behind a Timm row even those are built, since it returns several maps.

    Args:
        config: The twin, parsed.
        indices: The new rows' indices.
        file: The name of the original's checkpoint or YAML.
        module: The new module.

    Raises:
        ConfigError: A layer returns something else than one map of its input's shape, or cannot be built or run.
    """
    behind_timm = any(row[2] == "Timm" for row in [*config["backbone"], *config["head"]])
    if behind_timm or not registry.is_built_in(module):
        check_config(
            *(config, indices, file, module),
            lambda row, made: f"row {row}: {module} makes {made}; write with= a module that keeps the shape of one map",
        )


def check_config(
    config: dict[str, Any], indices: list[int], file: str, module: str, refusal: Refusal | None = None
) -> None:
    """Check the shapes of a model YAML's layers, as `check_shapes` does.

    The network is built by Ultralytics' parser up to the last of the layers: at the config's scale, else at that in the
    file's name, else at n, else at the first.

    Args:
        config: The parsed YAML.
        indices: The rows' indices, counted through backbone and head; without any, nothing is built.
        file: Its name as the user wrote it, such as `yolo11n-seg.yaml`.
        module: The rows' module.
        refusal: What to say of a layer that does not keep the shape; by default that it cannot be replaced.

    Raises:
        ConfigError: A layer returns something else than one map of its input's shape, or cannot be built or run.
    """
    if not indices:
        return
    rows = copy.deepcopy([*config["backbone"], *config["head"]])[: max(indices) + 1]
    scales = config.get("scales") or {}
    scale = next(
        (letter for letter in (config.get("scale"), guess_model_scale(file), "n") if letter in scales),
        next(iter(scales), ""),
    )
    network = BaseModel()
    network.yaml = {"yaml_file": file, **config, "backbone": rows, "head": [], "scale": scale}
    try:
        channels = configs.input_channels(network.yaml)
        network.model, network.save = parse_model(network.yaml, ch=channels, verbose=False)
        check_shapes(network.eval(), indices, refusal or old(file, module))
    except ConfigError:
        raise
    except Exception as error:  # whatever a module of the user's own raises
        reason = one_line(error)
        raise ConfigError(
            f"{file}: what {module} returns is not known, as the rows up to {max(indices)} do not run: "
            f"{type(error).__name__}: {reason}"
        ) from error


def _shape(value: Any) -> str:
    return "x".join(map(str, value.shape[1:])) if isinstance(value, Tensor) else f"{len(value)} maps"

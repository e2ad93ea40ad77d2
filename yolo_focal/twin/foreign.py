"""Makes a checkpoint of a model with FocalNet from published weights."""

from __future__ import annotations

import logging
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
import ultralytics
import yaml
from torch import Tensor
from ultralytics import YOLO
from ultralytics.utils import LOGGER

from yolo_focal.errors import ConfigError, one_line
from yolo_focal.files import whole
from yolo_focal.focal import FocalEmbed, FocalNorm, FocalStage
from yolo_focal.focal import weights as published
from yolo_focal.hook import configs
from yolo_focal.hook.heads import Classifier
from yolo_focal.twin.config import check_is_free

_SUFFIXES = (".pth", ".pt", ".bin", ".safetensors")


def derive_weights(model: str, weights: str, save: Path) -> None:
    """Write a checkpoint of a model with FocalNet whose backbone has published weights.

    Args:
        model: The model YAML, such as `yolov8s-focalnet.yaml`.
        weights: A state dict of the paper's code, timm or transformers (`.pth`, `.bin`, `.safetensors`), or the name of
            timm's weights, such as `focalnet_tiny_lrf.ms_in1k`, which are downloaded.
        save: File of the checkpoint.

    Raises:
        ConfigError: There is no such file, it has not the weights of the model's variant, or `save` exists.
    """
    check_is_free(save)
    configs.model(model)  # for its message
    yolo = YOLO(model, verbose=False)
    network = yolo.model
    embeds = [layer for layer in network.model if isinstance(layer, FocalEmbed)]
    stages = [layer for layer in network.model if isinstance(layer, FocalStage)]
    if not stages:
        raise ConfigError(
            f"model={model}: it has no FocalNet, which published weights are for; write model= with one such as "
            "yolov8s-focalnet.yaml"
        )
    state = read(weights)
    try:
        translated = published.translate(state)
        filled = published.load(translated, embeds, stages)
    except ValueError as error:
        raise ConfigError(f"weights={weights}: {error} (model={model})") from None
    LOGGER.info(f"taken from {weights} ({translated.source}): {len(embeds)} embeddings, {len(stages)} stages")
    for line in filled:
        LOGGER.info(f"filled up: {line}")
    for line in [*_load_head(network, translated.tensors), *(f"{key} (unknown)" for key in translated.unknown)]:
        LOGGER.info(f"left: {line}")
    _write(yolo, save)
    LOGGER.info(f"{save}: written")
    size = " imgsz=224" if yolo.task == "classify" else ""
    LOGGER.info(f"yolo train model={save} cfg=focalnet.yaml data=my.yaml{size}")


def _load_head(network: Any, tensors: dict[str, Tensor]) -> list[str]:
    """Load the last norm and the linear layer into a classifier's head; return a line for what stays unused."""
    head = network.model[-1]
    norm, linear = ({part: tensors.get(f"{name}.{part}") for part in ("weight", "bias")} for name in ("norm", "head"))
    classes = None if linear["bias"] is None else len(linear["bias"])
    if not isinstance(head, Classifier):
        left = "the last norm" if norm["weight"] is not None else ""
        left += f"{' and ' if left else ''}the head of {classes} classes" if classes else ""
        return [f"{left}: the model is no classifier"] if left else []
    if isinstance(head.conv, FocalNorm) and norm["weight"] is not None:
        head.conv.load_state_dict(norm)
    if classes is None:
        return []
    if classes != head.linear.out_features:
        return [f"the head of {classes} classes: the model has {head.linear.out_features}, whose head starts fresh"]
    head.linear.load_state_dict(linear)
    if classes == 1000:
        network.names = _imagenet_names()
    return []


def _imagenet_names() -> dict[int, str]:
    file = Path(ultralytics.__file__).parent / "cfg" / "datasets" / "ImageNet.yaml"
    names: dict[int, str] = yaml.safe_load(file.read_text(encoding="utf-8"))["names"]
    return names


def read(weights: str) -> dict[str, Tensor]:
    """Read a state dict from a file, or from timm's published weights by their name.

    Raises:
        ConfigError: There is no such file or name, it cannot be read, or it is no state dict.
    """
    file = Path(weights)
    if not file.is_file():
        if file.suffix in _SUFFIXES or "/" in weights:
            raise ConfigError(f"weights={weights}: there is no such file")
        if not re.fullmatch(r"focalnet_\w+\.\w+", weights):
            raise ConfigError(
                f"weights={weights}: write a file ({', '.join(_SUFFIXES)}), or the name of timm's weights, such as "
                "focalnet_tiny_lrf.ms_in1k"
            )
        file = _download(weights)
    state = _from_safetensors(file) if file.suffix == ".safetensors" else _from_pickle(file, weights)
    for key in ("model", "state_dict"):  # as the paper's code and others save it
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise ConfigError(f"weights={weights}: it is no state dict, a mapping of names to tensors")
    return state


def _from_safetensors(file: Path) -> Any:
    try:
        from safetensors.torch import load_file
    except ImportError:
        raise ConfigError(f"weights={file}: reading it takes safetensors; pip install yolo-focal[weights]") from None
    try:
        return load_file(file)
    except Exception as error:  # its own exception has no base class of Python's but Exception
        raise ConfigError(f"weights={file}: it cannot be read: {error}") from error


def _from_pickle(file: Path, weights: str) -> Any:
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zipfile and torch raise many kinds
        reason = one_line(error)[:200]
        raise ConfigError(
            f"weights={weights}: it cannot be read as tensors alone, without running code of the file: {reason}"
        ) from error


def _download(name: str) -> Path:
    """Download timm's weights of that name from the Hugging Face Hub, or find them in its cache."""
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise ConfigError(
            f"weights={name}: downloading it takes huggingface_hub and safetensors; pip install yolo-focal[weights]"
        ) from None
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it logs each of its retries
    try:
        return Path(hf_hub_download(f"timm/{name}", "model.safetensors"))
    except Exception as error:  # no network, no such name, a proxy: each is a class of its own
        raise ConfigError(
            f"weights={name}: it cannot be downloaded from huggingface.co/timm/{name}: {type(error).__name__}; "
            "download model.safetensors from there and write weights= with that file"
        ) from error


def _write(yolo: Any, save: Path) -> None:
    """Write a checkpoint of Ultralytics' format, in float32: halved weights would change the published network."""
    size = {"imgsz": 224} if yolo.task == "classify" else {}
    checkpoint = {
        "epoch": -1,
        "best_fitness": None,
        "model": yolo.model.eval(),
        "ema": None,
        "updates": None,
        "optimizer": None,
        "train_args": {"task": yolo.task, **size},
        "date": datetime.now().isoformat(),
        "version": ultralytics.__version__,
    }
    save.parent.mkdir(parents=True, exist_ok=True)
    with whole(save) as unfinished:
        torch.save(checkpoint, unfinished)

"""The command `yolo-focal derive`: reads what it is given, and makes a model YAML or a checkpoint of it."""

from __future__ import annotations

from pathlib import Path

from yolo_focal.errors import ConfigError
from yolo_focal.hook import configs
from yolo_focal.twin import config

DEFAULTS = {
    "images": "",
    "data": "",
    "weights": "",
    "backbone": "",
    "save": "",
    "replace": "",
    "after": "",
    "with": config.FOCAL,
}


def derive(values: dict[str, str]) -> None:
    """Derive the twin of a model YAML or a checkpoint, give a YAML a backbone of timm, or a FocalNet published weights.

    Args:
        values: Value of each key of the command: `model`, and those of `DEFAULTS`.

    Raises:
        ConfigError: The values do not go together, or nothing can be made of them.
    """
    is_checkpoint = bool(values["weights"]) or Path(values["model"]).suffix == ".pt"
    suffixes = (".pt",) if is_checkpoint else (".yaml", ".yml")
    if values["save"] and Path(values["save"]).suffix not in suffixes:
        raise ConfigError(
            f"yolo-focal derive: save={values['save']}: it is a {'checkpoint' if is_checkpoint else 'model YAML'} that "
            f"is written; write a name that ends in {suffixes[0]}"
        )
    if values["weights"]:
        _derive_weights(values)
        return
    if values["backbone"]:
        _derive_backbone(values)
        return
    if values["replace"] and values["after"]:
        raise ConfigError(
            f"yolo-focal derive: replace={values['replace']} after={values['after']}: a module is put in the place of "
            "another or behind it; write one of them"
        )
    where = (values["replace"] or "SPPF", values["after"], values["with"])
    if Path(values["model"]).suffix == ".pt":
        from yolo_focal.twin import checkpoint  # imported only when needed: it imports torch and Ultralytics

        path = Path(values["save"] or config.name_of_twin(Path(values["model"]).name, values["with"]))
        checkpoint.derive_checkpoint(values["model"], path, values["images"], values["data"], *where)
    else:
        _derive_yaml(values, *where)


def _check_alone(values: dict[str, str], chosen: str) -> None:
    """Raise ConfigError if a key is given that does not go with the chosen one."""
    for key in values.keys() - {"model", chosen, "save"}:
        if values[key] != DEFAULTS[key]:
            raise ConfigError(
                f"yolo-focal derive: {key}={values[key]}: it does not go with {chosen}=; leave {key}= out"
            )


def _derive_backbone(values: dict[str, str]) -> None:
    model, name = values["model"], values["backbone"]
    _check_alone(values, "backbone")
    if Path(model).suffix not in {".yaml", ".yml"}:
        raise ConfigError(
            f"yolo-focal derive: model={model}: backbone= is for a model YAML; write one such as yolov8s-timm.yaml"
        )
    from yolo_focal.twin import backbone  # imported only when needed: it imports torch and timm

    original = configs.model(model)
    derived = backbone.replace(config.read(original), model, name)
    path = Path(values["save"] or derived.name_of(original.name))
    example = derived.name_of(Path(model).name)
    command = config.training_command(path, model, derived.original.get("scales") or (), example)
    _write(derived.text, path, derived.changes, command)


def _derive_weights(values: dict[str, str]) -> None:
    model = values["model"]
    _check_alone(values, "weights")
    if Path(model).suffix not in {".yaml", ".yml"}:
        raise ConfigError(
            f"yolo-focal derive: model={model}: weights= fills a model YAML; write one such as yolov8s-focalnet.yaml"
        )
    from yolo_focal.twin import foreign  # imported only when needed: it imports torch and Ultralytics

    foreign.derive_weights(model, values["weights"], Path(values["save"] or f"{Path(model).stem}.pt"))


def _derive_yaml(values: dict[str, str], replace: str, after: str, module: str) -> None:
    model = values["model"]
    for key in ("images", "data"):
        if values[key]:
            raise ConfigError(
                f"yolo-focal derive: {key}={values[key]}: {model} has no weights to carry over; "
                f"leave {key}= out, or write model= with a .pt file"
            )
    original = configs.model(model)
    twin = config.twin(config.read(original), model, replace, after, module)

    from yolo_focal.twin import layers, modules  # imported only when needed: they import torch and Ultralytics

    modules.check(module, str(original))
    old = layers.old(model, replace, module)
    layers.check_config(twin.original, twin.positions.replaced, model, replace, old)
    layers.check_new(twin.config, twin.positions.new, model, module)
    path = Path(values["save"] or config.name_of_twin(original.name, module))
    example = config.name_of_twin(Path(model).name, module)
    command = config.training_command(path, model, twin.original.get("scales") or (), example)
    _write(twin.text, path, twin.changes, command)


def _write(text: str, path: Path, changes: list[str], command: str) -> None:
    """Write a derived YAML; print what has changed, and the command that trains it."""
    written = config.save(text, path)
    print("\n".join(changes))
    print(f"{path}: {'written' if written else 'is there already, the same'}")
    print(command)

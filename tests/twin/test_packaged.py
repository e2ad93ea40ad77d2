"""The packaged configs: that they are what the installed Ultralytics' own become, and that all build and run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import regenerate_cfg
from support import python

from yolo_focal.hook import configs


def test_the_packaged_configs_are_what_derive_writes() -> None:
    """Stale against the installed Ultralytics? Run scripts/maintain/regenerate_cfg.py."""
    packaged = {file.name: file.read_text(encoding="utf-8") for file in configs.folder().glob("yolo*focal*.yaml")}
    del packaged["yolov8-focalnet-cls.yaml"]  # written by hand
    assert packaged == regenerate_cfg.texts()


BUILD = """
import json, sys
import torch
from ultralytics import RTDETR, YOLO
from ultralytics.utils import LOGGER
LOGGER.setLevel("ERROR")
for name in "kaiming_uniform_", "uniform_", "normal_", "trunc_normal_", "xavier_uniform_":
    setattr(torch.nn.init, name, lambda tensor, *args, **kwargs: tensor)  # nearly half of the time; no value matters
result = {}
for name in json.loads(sys.argv[1]):
    # As the yolo command chooses; without the summary, which takes longer than the model.
    kind = RTDETR if "rtdetr" in name else lambda file: YOLO(file, verbose=False)
    model = kind(name)
    places = [layer.type for layer in model.model.model if layer.type.startswith("yolo_focal.")]
    attention = sum(type(part).__name__ == "Attention" for part in model.model.modules())
    with torch.no_grad():
        model.model.eval()(torch.zeros(1, 3, 64, 64))
    result[name] = [model.task, model.model.yaml["scale"], attention, *places]
print(json.dumps(result))
"""


@pytest.mark.slow
@pytest.mark.parametrize("scale", ["n", "smlx"])
def test_every_packaged_config_builds_and_runs(scale: str, tmp_path: Path) -> None:
    modules = {
        regenerate_cfg.derived(*file)[0]: [f"yolo_focal.focal.{file[1].get('with', 'FocalModulation')}"]
        for file in regenerate_cfg.FILES
    }
    files = {
        re.sub(r"(\d+)", rf"\g<1>{letter}", name, count=1): modules.get(name)
        for name in (*regenerate_cfg.texts(), "yolov8-focalnet-cls.yaml")
        for letter in scale
    }
    for name, expected in files.items():
        if "yolo26" in name and "-c2focal" in name and "-cls" not in name:
            files[name] = [*expected, "yolo_focal.focal.C3k2Focal"]
    names = [*files]
    built = json.loads(
        python(f"import sys\nsys.argv = ['', {json.dumps(names)!r}]\n{BUILD}", tmp_path).splitlines()[-1]
    )
    for name, expected in files.items():
        suffixes = {"seg": "segment", "pose": "pose", "obb": "obb", "cls": "classify"}
        task = next((task for suffix, task in suffixes.items() if f"-{suffix}" in name), "detect")
        letter = re.search(r"\d+([nsmlx])-", name)[1]
        assert built[name][:2] == [task, letter], name
        attention, *places = built[name][2:]
        assert not attention or "-c2focal" not in name, name
        assert places == expected or (expected is None and places.count("yolo_focal.focal.FocalStage") == 4), name

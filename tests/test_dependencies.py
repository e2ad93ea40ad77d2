"""What the package imports is declared; what needs an extra says so in one line, and the rest works without."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest
from support import REPO, python

tomllib = pytest.importorskip("tomllib", reason="Python 3.11 reads pyproject.toml")

PROJECT = tomllib.loads((REPO / "pyproject.toml").read_text("utf-8"))["project"]
DISTRIBUTIONS = {"cv2": "opencv-python", "faster_coco_eval": "faster-coco-eval", "PIL": "pillow", "yaml": "pyyaml"}
# Where a package of an extra may be imported; everywhere else only what `pip install yolo-focal` brings.
EXTRAS = {"backbones/timm.py": ("timm",), "comparison/": ("compare",), "twin/foreign.py": ("weights",)}
EXTRAS.update(
    {f"comparison/launch/ray_{name}.py": ("compare", "ray") for name in ("callback", "cluster", "node", "storage")}
)


def names(requirements: list[str]) -> set[str]:
    return {re.match(r"[\w.-]+", requirement)[0] for requirement in requirements}


def imports(file: Path) -> set[str]:
    """Return the packages of others that a file imports, at its top or later."""
    tree = ast.parse(file.read_text("utf-8"))
    found = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    found |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level}
    tops = {name.partition(".")[0] for name in found} - sys.stdlib_module_names - {"yolo_focal"}
    return {DISTRIBUTIONS.get(name, name) for name in tops}


IMPORTS = {
    file.relative_to(REPO / "yolo_focal").as_posix(): imports(file) for file in (REPO / "yolo_focal").rglob("*.py")
}
BASE = names(PROJECT["dependencies"])
OPTIONAL = {name: names(values) for name, values in PROJECT["optional-dependencies"].items()}


def allowed(file: str) -> set[str]:
    extras = next((EXTRAS[key] for key in (file, f"{file.partition('/')[0]}/") if key in EXTRAS), ())
    return BASE.union(*(OPTIONAL[extra] for extra in extras))


def test_nothing_is_imported_that_is_not_declared() -> None:
    assert {file: found - allowed(file) for file, found in IMPORTS.items() if found - allowed(file)} == {}


def test_each_has_a_minimum_which_the_session_lowest_tries() -> None:
    groups = [PROJECT["dependencies"], *(PROJECT["optional-dependencies"][name] for name in ("compare", "export"))]
    assert [requirement for group in groups for requirement in group if ">=" not in requirement] == []


def test_nothing_is_declared_that_is_not_imported() -> None:
    assert BASE - set().union(*IMPORTS.values()) == set()
    for extra in ("compare", "ray", "timm", "weights"):
        files = [file for file in IMPORTS if OPTIONAL[extra] <= allowed(file)]
        assert OPTIONAL[extra] - set().union(*(IMPORTS[file] for file in files)) == set()


BLOCKED = """
import sys
for name in {missing!r}:
    sys.modules[name] = None  # as if it were not installed
from pathlib import Path
import yolo_focal
from yolo_focal.errors import ConfigError
try:
    {code}
except ConfigError as error:
    print("SAID", error)
"""


@pytest.mark.parametrize(
    ("missing", "code", "message"),
    [
        (
            ["timm"],
            "__import__('yolo_focal.backbones').backbones.Timm(3, 'resnet18')",
            "this model has a backbone of timm, which is not installed: pip install timm",
        ),
        (
            ["polars"],
            "yolo_focal.compare('my.yaml', ['a.yaml', 'b.yaml'])",
            "compare: it needs the package polars: pip install 'yolo-focal[compare]'",
        ),
        (
            ["ray"],
            "yolo_focal.compare('my.yaml', ['a.yaml', 'b.yaml'], engine='ray')",
            "engine=ray: it needs Ray Tune: pip install 'yolo-focal[ray]'",
        ),
        (
            ["huggingface_hub"],
            "from yolo_focal.twin.foreign import _download; _download('focalnet_tiny_lrf.ms_in1k')",
            "weights=focalnet_tiny_lrf.ms_in1k: downloading it takes huggingface_hub and safetensors; "
            "pip install yolo-focal[weights]",
        ),
        (
            ["safetensors", "safetensors.torch"],
            "from yolo_focal.twin.foreign import _from_safetensors; _from_safetensors(Path('a.safetensors'))",
            "weights=a.safetensors: reading it takes safetensors; pip install yolo-focal[weights]",
        ),
    ],
)
def test_what_needs_an_extra_says_so_in_one_line(missing: list[str], code: str, message: str, tmp_path: Path) -> None:
    out = python(BLOCKED.format(missing=missing, code=code), tmp_path)
    assert [line for line in out.splitlines() if line.startswith("SAID")] == [f"SAID {message}"]


def test_the_rest_works_without_any_extra(tmp_path: Path) -> None:
    optional = OPTIONAL["compare"] | OPTIONAL["export"] | OPTIONAL["ray"] | OPTIONAL["weights"]
    # Ultralytics itself imports some: matplotlib, polars, psutil and scipy, by release.
    missing = sorted(name.replace("-", "_") for name in optional - BASE - {"polars", "psutil", "scipy"})
    code = "; ".join(
        (
            "from yolo_focal import cli, shapes",
            "from yolo_focal.twin import checkpoint, foreign",
            "from yolo_focal.visualization import visualizer",
            "sys.argv = ['yolo-focal', 'derive', 'model=yolo11n-seg.yaml']",
            "cli.main()",
        )
    )
    assert "SAID" not in python(BLOCKED.format(missing=missing, code=code), tmp_path)
    assert [file.suffix for file in tmp_path.iterdir()] == [".yaml"]

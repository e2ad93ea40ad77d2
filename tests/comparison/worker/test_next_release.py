"""A release of Ultralytics that has renamed what the worker touches: the runs go on without what needs it."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import few
import pytest
import ultralytics
from support import COMMAND, python, run

from yolo_focal.comparison.report.i18n import phrase
from yolo_focal.comparison.store.files import write_json
from yolo_focal.comparison.store.run_folder import METRICS, TASK, RunSpec
from yolo_focal.comparison.worker import train, ultralytics_trainer

INSTALLED = Path(ultralytics.__file__).parent
TINY = (
    "nc: 4\nbackbone:\n- [-1, 1, Conv, [16, 3, 8]]\n- [-1, 1, Conv, [{}, 3, 2]]\nhead:\n- [[0, 1], 1, Detect, [nc]]\n"
)


def next_release(folder: Path, *names: str) -> Path:
    """Write a package of Ultralytics in which names are others; all else in it is the installed one's.

    Args:
        folder: Where to write it.
        *names: Attributes, or keys of dictionaries in quotes.
    """
    package = folder / "ultralytics"
    shutil.copytree(INSTALLED, package, copy_function=os.symlink, ignore=shutil.ignore_patterns("__pycache__"))
    keys = [name.strip("'") for name in names if name.startswith("'")]
    attributes = [name for name in names if not name.startswith("'")]
    old = "|".join(
        [*(rf"(?<=\.){name}\b|(?<=def ){name}(?=\(self)" for name in attributes), *(rf"\b{key}\b" for key in keys)]
    )
    for file in package.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        renamed = re.sub(old, r"new_\g<0>", text)
        if renamed != text:
            file.unlink()
            file.write_text(renamed, encoding="utf-8")
    return folder


def test_no_other_file_reads_an_attribute_of_the_trainer_or_the_validator() -> None:
    for file in Path(train.__file__).parent.glob("*.py"):
        if file.name == Path(ultralytics_trainer.__file__).name:
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, (ast.Name, ast.Attribute)):
                name = node.value.id if isinstance(node.value, ast.Name) else node.value.attr
                assert name not in {"trainer", "validator"}, f"{file.name}:{node.lineno}"


def prepared(folder: Path, *names: str) -> str:
    """Write a small data set and two models to a folder, and return a path of modules with the next release first."""
    few.draw(folder / "set", train=8, val=4)
    (folder / "few.yaml").write_text(few.yaml_of(folder / "set"))
    for label, channels in (("small", 16), ("large", 32)):
        (folder / f"{label}.yaml").write_text(TINY.format(channels))
    return os.pathsep.join((str(next_release(folder / "next", *names)), os.environ.get("PYTHONPATH", "")))


@pytest.mark.slow
def test_a_comparison_ends_with_results_and_says_what_the_release_lacks(tmp_path: Path) -> None:
    path = prepared(tmp_path, "accumulate", "update_metrics", "preprocess_batch")
    small = ("seeds=1", "imgsz=64", "batch=4", "epochs=2", "workers=0", "plots=False")
    run(COMMAND, "compare", "data=few.yaml", "models=small.yaml,large.yaml", *small, cwd=tmp_path, PYTHONPATH=path)
    summary = json.loads((tmp_path / "runs/compare/compare/summary.json").read_text("utf-8"))
    assert [len(scores) for scores in summary["scores"].values()] == [1, 1]
    places = {"release": version("ultralytics"), "runs": "small, seed0; large, seed0"}
    lacking = {
        "snapshots": "DetectionTrainer.accumulate",
        "records": "DetectionValidator.update_metrics",
        "work": "DetectionTrainer.preprocess_batch",
    }
    assert {line for line in summary["warnings"] if "Ultralytics" in line} == {
        phrase("en", f"without_{part}", lacking=name, **places) for part, name in lacking.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "lacking"),
    [
        (["optimizer_step", "stats"], {"snapshots": "{T}.optimizer_step", "records": "{V}.metrics.stats"}),
        (
            ["ema", "preprocess_batch", "'pred_cls'"],
            {"snapshots": "{T}.ema.ema", "records": "{V}.metrics.stats['pred_cls']", "work": "{T}.preprocess_batch"},
        ),
        (
            ["scaler", "'im_file'"],
            {"snapshots": "{T}.scaler.state_dict", "records": "{V}.update_metrics(batch['im_file'])"},
        ),
        (["stopper", "dataloader"], {"snapshots": "{T}.stopper", "records": "{V}.dataloader.dataset"}),
        (["buffer"], {"snapshots": "{T}.train_loader.dataset.buffer"}),
        (["epoch"], {"snapshots": "{T}.epoch", "records": "{T}.epoch", "work": "{T}.epoch"}),
    ],
)
def test_a_run_ends_with_a_result_that_names_what_the_release_lacks(
    names: list[str], lacking: dict[str, str], tmp_path: Path
) -> None:
    path = prepared(tmp_path, *names)
    spec = RunSpec(
        model=str(tmp_path / "small.yaml"),
        data=str(tmp_path / "few.yaml"),
        seed=0,
        arguments={"imgsz": 64, "batch": 4, "epochs": 2, "workers": 0, "plots": False, "device": "cpu"},
        threads=1,
        last_epochs=2,
        test=False,
        snapshot_every=1,
        metric=METRICS["detect"],
        ablations=[],
        place="cpu",
        fingerprint="0",
    )
    folder = tmp_path / "small" / "seed0"
    folder.mkdir(parents=True)
    write_json(folder / TASK, asdict(spec))
    python(
        f"from pathlib import Path\nfrom yolo_focal.comparison.worker import run\nrun.main(Path({str(folder)!r}))",
        tmp_path,
        PYTHONPATH=path,
    )
    result = json.loads((folder / "result.json").read_text("utf-8"))
    expected = {part: name.format(T="DetectionTrainer", V="DetectionValidator") for part, name in lacking.items()}
    assert result["without"] == expected
    assert len(result["curve"]) == result["work"]["epochs"] == 2
    assert result["recorded"] == ("records" not in lacking)

"""The program of docs/deploy.md that quantizes an export, read out of the page and run: what it leaves in float."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import few
import onnx
import pytest
from pages import blocks, text
from support import REPO, YOLO, run

pytestmark = pytest.mark.slow
PAGE = REPO / "docs" / "deploy.md"
(PROGRAM,) = (body for language, body in blocks(PAGE) if language == "python")
IN_FLOAT = dict(re.findall(r"^python quantize.py (\S+)\.onnx my/images/train (/.+)$", text(PAGE), re.MULTILINE))


def in_float(graph: onnx.GraphProto) -> set[str]:
    """Return the nodes of a quantized graph that compute in float: not all that they read is in INT8."""
    integer = {output for node in graph.node if node.op_type == "DequantizeLinear" for output in node.output}
    return {node.name for node in graph.node if not {*node.input} <= integer}


@pytest.mark.parametrize(("name", "head"), [("yolov8n", 22), ("yolov8n-focal", 22), ("yolov8n-c2focal", 23)])
def test_the_decoding_and_the_nodes_that_the_page_names_stay_in_float(tmp_path: Path, name: str, head: int) -> None:
    few.draw(tmp_path / "my", train=8, val=4)
    (tmp_path / "my.yaml").write_text(few.yaml_of(tmp_path / "my"))
    (tmp_path / "quantize.py").write_text(PROGRAM)
    named = IN_FLOAT.get(name, "").split()
    assert len(named) == (0 if name == "yolov8n" else 3)

    run(YOLO, "export", f"model={name}.yaml", "format=onnx", "imgsz=64", cwd=tmp_path)
    run(sys.executable, "quantize.py", f"{name}.onnx", "my/images/train", *named, cwd=tmp_path)
    left = in_float(onnx.load(tmp_path / f"{name}-int8.onnx").graph)
    decoding = {f"/model.{head}/{node}" for node in ("dfl/conv/Conv", "Sigmoid", "Concat_3")}
    assert decoding | {*named} <= left
    assert {node for node in left if node.endswith("/Conv")} <= decoding | {*named}
    run(YOLO, "val", f"model={name}-int8.onnx", "data=my.yaml", "imgsz=64", "workers=0", cwd=tmp_path)

"""Rewrite an exported model so that OpenCV 4.6 (Debian 12, Ubuntu 24.04) runs it; OpenCV 4.7 and later need none of it.

    yolo export model=best.pt format=onnx opset=12
    python for_opencv46.py model=best.onnx [save=best-opencv46.onnx]

OpenCV 4.6 multiplies two tensors where one has the shape of the product. Two products are not of that kind, the focal
layer's global context (C x 1 x 1) by its gate (1 x H x W), and the head's strides by the corners, which stock YOLOv8
has as well: here one factor is spelled out to the product's shape. Needs onnx; the results stay the same.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

USAGE = "python for_opencv46.py model=best.onnx"
EXPORT = "yolo export model=best.pt format=onnx opset=12"


def main(argv: list[str]) -> None:
    """Read, rewrite and save."""
    args = dict(item.partition("=")[::2] for item in argv)
    for key in args:
        if key not in {"model", "save"}:
            raise SystemExit(f"{key}: unknown argument; write key=value, key one of model, save: {USAGE}")
    source = Path(args.get("model", ""))
    if not source.is_file():
        raise SystemExit(f"model={args.get('model', '')}: no such file; make it with: {EXPORT}")
    model = onnx.load(source)
    opset = next(known.version for known in model.opset_import if not known.domain)
    if opset > 12:  # 13 moved Split's sizes, and 18 ReduceMean's axes, to where OpenCV 4.6 does not look for them
        raise SystemExit(f"model={source}: exported with opset={opset}, which is too new; make it with: {EXPORT}")
    shape = shapes(model)
    if 0 in shape[model.graph.input[0].name]:
        raise SystemExit(f"model={source}: its input has no fixed size, which OpenCV needs; make it with: {EXPORT}")
    count = spell_out(model.graph, shape)
    onnx.checker.check_model(model)
    save = Path(args.get("save") or source.with_name(f"{source.stem}-opencv46.onnx"))
    onnx.save(model, save)
    print(f"{count} products spelled out in {save}")


def shapes(model: onnx.ModelProto) -> dict[str, list[int]]:
    """Return the shape of every tensor of a model, by name; an unknown side is 0."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    found = {
        value.name: [side.dim_value for side in value.type.tensor_type.shape.dim]
        for value in [*graph.input, *graph.value_info, *graph.output]
    }
    return {**found, **{tensor.name: list(tensor.dims) for tensor in graph.initializer}}


def spell_out(graph: onnx.GraphProto, shape: dict[str, list[int]]) -> int:
    """Give one factor of each product that OpenCV 4.6 refuses the product's shape; returns how many there were."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    nodes = []
    before = len(graph.initializer)
    for node in graph.node:
        if node.op_type == "Mul":
            result = shape[node.output[0]]
            for k, name in enumerate(node.input):
                new = f"{node.name}/spelled_out"
                if name in constants and 0 < len(shape[name]) < len(result):
                    full = np.broadcast_to(numpy_helper.to_array(constants[name]), result)
                    graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(full), new))
                    node.input[k] = new
                elif k == 0 and constants.keys().isdisjoint(node.input) and result not in map(shape.get, node.input):
                    graph.initializer.append(numpy_helper.from_array(np.array(result, np.int64), f"{new}/shape"))
                    nodes.append(helper.make_node("Expand", [name, f"{new}/shape"], [new], name=new))
                    node.input[k] = new
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    return len(graph.initializer) - before


if __name__ == "__main__":
    main(sys.argv[1:])

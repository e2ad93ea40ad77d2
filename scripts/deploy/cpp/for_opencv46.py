"""Rewrite an exported model so that OpenCV 4.6 (Debian 12, Ubuntu 24.04) runs it; OpenCV 4.7 and later need none of it.

    yolo export model=best.pt format=onnx opset=12
    python for_opencv46.py model=best.onnx

OpenCV 4.6 can multiply two tensors only if one of them has the shape of the product. Two products of the model do not
meet this condition: that of the focal layer's global context (C x 1 x 1) and its gate (1 x H x W), and that of the
head's strides and the corners, which stock YOLOv8 has as well. This script expands one factor of each to the shape of
the product, and writes best-opencv46.onnx. It needs onnx; the results stay the same.
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
    if args.keys() != {"model"}:
        raise SystemExit(f"{' '.join(argv)}: write {USAGE}")
    source = Path(args["model"])
    if not source.is_file():
        raise SystemExit(f"model={source}: no such file; make it with: {EXPORT}")
    model = onnx.load(source)
    opset = next(entry.version for entry in model.opset_import if not entry.domain)
    if opset > 12:  # 13 made Split's sizes, and 18 ReduceMean's axes, an input, which OpenCV 4.6 does not support
        raise SystemExit(f"model={source}: exported with opset={opset}, which is too new; make it with: {EXPORT}")
    shape = shapes(model)
    if 0 in shape[model.graph.input[0].name]:
        raise SystemExit(f"model={source}: its input has no fixed size, which OpenCV needs; make it with: {EXPORT}")
    count = expand_factors(model.graph, shape)
    onnx.checker.check_model(model)
    save = source.with_name(f"{source.stem}-opencv46.onnx")
    onnx.save(model, save)
    print(f"{count} factors expanded in {save}")


def shapes(model: onnx.ModelProto) -> dict[str, list[int]]:
    """Return the shape of every tensor of a model by name; an unknown dimension is 0."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    return {tensor.name: list(tensor.dims) for tensor in graph.initializer} | {
        value.name: [side.dim_value for side in value.type.tensor_type.shape.dim]
        for value in [*graph.input, *graph.value_info, *graph.output]
    }


def expand_factors(graph: onnx.GraphProto, shape: dict[str, list[int]]) -> int:
    """Expand a factor of each product that OpenCV 4.6 cannot compute to the product's shape; return their number."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    nodes = []
    before = len(graph.initializer)
    for node in graph.node:
        if node.op_type == "Mul":
            product = shape[node.output[0]]
            for k, name in enumerate(node.input):
                new = f"{node.name}/expanded"
                if name in constants and 0 < len(shape[name]) < len(product):
                    full = np.broadcast_to(numpy_helper.to_array(constants[name]), product)
                    graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(full), new))
                    node.input[k] = new
                elif k == 0 and constants.keys().isdisjoint(node.input) and product not in map(shape.get, node.input):
                    graph.initializer.append(numpy_helper.from_array(np.array(product, np.int64), f"{new}/shape"))
                    nodes.append(helper.make_node("Expand", [name, f"{new}/shape"], [new], name=new))
                    node.input[k] = new
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    return len(graph.initializer) - before


if __name__ == "__main__":
    main(sys.argv[1:])

#!/usr/bin/env bash
# Download what the parts need beside torch, torchvision, timm, transformers, onnxruntime and pytest, for a machine
# without a network: bash scripts/experiments/gpu/wheels.sh [PYTHON_VERSION=3.12] [FOLDER=.whl] [PACKAGE ...]
# There, in the checkout: python3 -m pip install --no-index --no-deps --find-links .whl .whl/*.whl
set -euo pipefail
cd "$(dirname "$0")/../../.."
version=${1:-3.12} folder=${2:-.whl}
shift $(($# < 2 ? $# : 2))
tags=()
for tag in manylinux_2_28 manylinux_2_27 manylinux_2_24 manylinux_2_17 manylinux2014; do tags+=(--platform "${tag}_x86_64"); done
[ $# -gt 0 ] || set -- ultralytics ultralytics-thop ultralytics-platform polars polars-runtime-32 faster-coco-eval
python3 -m pip download -q --no-deps --only-binary=:all: --implementation cp --python-version "$version" "${tags[@]}" \
  -d "$folder" "$@"
python3 -m pip wheel -q --no-deps -w "$folder" .
du -ch "$folder"/*.whl

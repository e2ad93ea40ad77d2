#!/usr/bin/env bash
# Everything that only a GPU can show, in parts of at most 8 minutes: bash scripts/experiments/gpu.sh [PART ...] [key=value ...]
# scripts/experiments/gpu/run.py says what the parts are; gpu/wheels.sh brings what a machine without a network lacks.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PYTHONPATH="$PWD:$PWD/scripts${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
export YOLO_OFFLINE="${YOLO_OFFLINE:-1}" # Ultralytics asks the network for a model to check mixed precision with
exec "${PYTHON:-python3}" scripts/experiments/gpu/run.py "$@"

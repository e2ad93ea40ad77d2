"""Run the parts of what only a GPU can show.

bash scripts/experiments/gpu.sh [PART ...] [device=cuda] [out=gpu-results] [minutes=8] [data=my.yaml] [size=full]

Each part writes PART.json and PART.md to the folder `out` after each of its measurements, begins no further one after
`minutes`, and goes on where it was when it is called again. Without a part all run, in this order:

tests     the tests marked gpu
module    FocalModulation beside timm's, transformers' and SPPF: forward, step and memory, in three data types, both
          memory formats, compiled and not
models    YOLOv8-focal beside YOLOv8, scales n to x: an image, a training step, and images a second of `yolo train`
tail      what float32 behind the context levels costs in float16, and what other data types there lose
compare   `yolo-focal compare` on the set `data`: SPPF, focal, FocalNet and C2Focal, 640 pixels, 100 epochs, 5 seeds
exact     how far an interrupted and resumed training ends from an uninterrupted one, beside two equal ones
runtimes  TensorRT, and ONNX Runtime on CUDA, where they are installed

`device=cpu size=small` tries each part in seconds.
"""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path

from results import Options, Results

PARTS = ("tests", "module", "models", "tail", "compare", "exact", "runtimes")


def main(arguments: list[str]) -> int:
    """Run the parts; return 1 if a measurement failed."""
    options, parts = parse(arguments)
    failed = False
    for part in parts:
        if part == "compare" and not options.data:
            print("compare: left out; it needs data=, a data set's YAML file")
            continue
        results = Results(options, part)
        # An import for each part: one of which a package is missing does not stop the others.
        jobs = importlib.import_module(f"parts.{part}").jobs(options)
        end = time.monotonic() + 60 * options.minutes
        results.run(jobs, end)
        print(results.markdown())
        print(f"{results.state()}; {results.file} and {results.file.with_suffix('.md')}", flush=True)
        failed |= bool(results.errors())
    return int(failed)


def parse(arguments: list[str]) -> tuple[Options, list[str]]:
    """Parse parts and `key=value` arguments.

    Raises:
        SystemExit: One of them is invalid.
    """
    parts = [argument for argument in arguments if "=" not in argument]
    for part in parts:
        if part not in PARTS:
            raise SystemExit(f"{part}: there is no such part; write some of {' '.join(PARTS)}")
    options = Options()
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals:
            continue
        if key not in vars(options):
            raise SystemExit(f"{argument}: write key=value, with a key of {', '.join(vars(options))}")
        try:
            setattr(options, key, type(getattr(options, key))(value))
        except ValueError:
            raise SystemExit(f"{argument}: write a number, such as {key}={getattr(options, key)}") from None
    for key, choices in (("device", ("cuda", "cpu")), ("size", ("full", "small"))):
        if getattr(options, key) not in choices:
            raise SystemExit(f"{key}={getattr(options, key)}: write {' or '.join(choices)}")
    if "compare" in parts and not options.data:
        raise SystemExit("data= is missing: write a data set's YAML file, such as data=my.yaml")
    import torch  # takes seconds

    if options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("device=cuda: this machine has no CUDA device; write device=cpu size=small to try the parts")
    if options.data and Path(options.data).exists():
        options.data = str(Path(options.data).resolve())
    return options, parts or [*PARTS]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

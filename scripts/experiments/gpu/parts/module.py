"""FocalModulation beside timm's, transformers' and SPPF, by scripts/benchmark.py."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import product

import benchmark
from results import Job, Options, Row

# Compiled and in the largest part, so that a compilation of half a minute each fits in.
COMPILED = list(product((256, 512), (20, 80), (1, 16)))


def jobs(options: Options) -> Iterator[tuple[str, Job]]:
    """Yield the shapes as they are, in every data type and memory format, then some of them compiled."""
    shapes = [(8, 6, 2)] if options.small else list(product((256, 512, 576, 640), (20, 40, 80), (1, 16)))
    compiled = [] if options.small else COMPILED
    dtypes = ("float16", "bfloat16", "float32")
    layouts = ("contiguous", "channels_last")
    kinds = [("eager", dtype, layout) for dtype, layout in product(dtypes, layouts)]
    kinds += [("compiled", dtype, layout) for dtype, layout in product(("float16", "float32"), layouts)]
    for mode, dtype, layout in kinds:
        settings = benchmark.Settings(
            device=options.device, dtype=dtype, layout=layout, mode=mode, seconds=0.0 if options.small else 0.3
        )
        for dim, size, batch in shapes if mode == "eager" else compiled:
            name = f"{mode}, {dtype}, {layout}, dim {dim}, {size}x{size}, batch {batch}"
            yield name, partial(measure, settings, dim, size, batch)


def measure(settings: benchmark.Settings, dim: int, size: int, batch: int) -> list[Row]:
    """Return a row for the forward pass, the step and the peak of its memory: ours, and ours to each other's."""
    measured = benchmark.time_modules(settings, dim, size, batch)
    if settings.mode == "eager":
        measured += benchmark.measure_memory(settings, dim, size, batch)
    rows: dict[str, Row] = {}
    for row in measured:
        if row.what not in ("forward", "step", "memory"):  # rates of the machine's products and copies
            continue
        kind = {"what": row.what, "mode": settings.mode, "dtype": settings.dtype, "layout": settings.layout}
        new = {**kind, "where": row.where, "ours": row.ours, "unit": row.unit}
        spread = f" ({row.low:.2f} to {row.high:.2f})" if row.rounds > 1 else ""
        rows.setdefault(row.what, new)[f"to {row.other}"] = f"{row.ratio:.2f}{spread}"
    return [*rows.values()]

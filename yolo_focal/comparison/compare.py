"""The public face of the comparison; it imports what a comparison needs only when one is asked for."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from yolo_focal.errors import ConfigError

if TYPE_CHECKING:
    import polars as pl

_PACKAGES = ("jinja2", "matplotlib", "polars", "scipy")


def compare(
    data: str,
    models: Sequence[str],
    seeds: int = 5,
    name: str = "compare",
    workers: int = 1,
    engine: str = "local",
    address: str | None = None,
    **arguments: Any,
) -> pl.DataFrame:
    """Train models on the same data with the same seeds, and say which is better, by how much, and how sure that is.

    Everything goes to `runs/compare/<name>`: a folder for each run, `report.html`, `results.csv`, `summary.json` and
    the plots. Called again with the same arguments it goes on where it was: what has finished is kept, and a run that
    was killed goes on to the result that it would have had. More seeds may be added.

    Args:
        data: The data set, as for `yolo train`.
        models: Model YAMLs or checkpoints of one task, two or more; each is compared with the first.
        seeds: With how many seeds each is trained.
        name: Of the folder.
        workers: How many runs go side by side. The CPU threads and data loader workers of each are the machine's,
            divided by this number when the comparison is begun.
        engine: "local", or "ray" for a Ray cluster, whose machines see this folder and the data under the same paths.
        address: Of the Ray cluster; without it Ray is started on this machine.
        **arguments: Whatever else `yolo train` takes, such as `epochs=50` or `pretrained="yolov8n.pt"`.

    Returns:
        A row for each run: model, seed, whether it finished, Ultralytics' metrics, epochs, seconds, why it failed.

    Raises:
        ConfigError: Something that cannot work, or that is not what the comparison in this folder was begun with.
    """
    for package in _PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise ConfigError(f'compare: it needs the package {package}: pip install "yolo-focal[compare]"')
    if engine not in {"local", "ray"}:
        raise ConfigError(f"engine={engine}: write engine=local or engine=ray")
    if address is not None and engine != "ray":
        raise ConfigError(f"address={address}: it goes with engine=ray")
    from yolo_focal.comparison.conduct import conduct

    return conduct(data, models, seeds, name, workers, engine == "ray", address, arguments)

"""The public function of the comparison; it imports what a comparison needs only when it is called."""

from __future__ import annotations

import errno
import importlib.util
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from yolo_focal.errors import ConfigError

if TYPE_CHECKING:
    import polars as pl

_FOR_RAY = ("ray", "pandas", "pyarrow")
_PACKAGES = ("filelock", "jinja2", "matplotlib", "polars", "psutil", "scipy")


def compare(
    data: str | Sequence[str],
    models: str | Sequence[str],
    seeds: int = 5,
    name: str = "compare",
    parallel: int | None = None,
    folds: int = 0,
    split: str | None = None,
    margin: float | None = None,
    all_pairs: bool = False,
    snapshot_every: int = 1,
    lang: str = "en",
    per_device: int = 1,
    gpus_per_run: int = 1,
    budget: str | None = None,
    seed: int = 0,
    control: bool = False,
    engine: str = "local",
    address: str | None = None,
    storage: str | None = None,
    **arguments: Any,
) -> pl.DataFrame:
    """Train models on the same data with the same seeds, and say which is better, by how much, and how sure that is.

    Everything goes to `runs/compare/<name>`: a folder for each run, `report.html`, `results.csv`, `summary.json` and
    the plots. Of several data sets each has such a folder in it, with a report of its own; the report above is over all
    of them, with the data set as the unit, and `table.md` and `table.tex` lie beside it. Called again with the same
    arguments it goes on where it was: what has finished is kept, and a run that was interrupted goes on to the result
    that it would have had.

    Args:
        data: The data set, as for `yolo train`; several as a list or with commas between, or as a folder of data YAML
            files.
        models: Model YAMLs or checkpoints of one task, two or more, as a list or with commas between; each is compared
            with the first. "collection" stands for all packaged models of the first one's family, scale and task,
            without those with another backbone, and alone for those of `yolov8n.yaml` behind it.
        seeds: Number of seeds that each model is trained with. It is fixed when the comparison begins; a larger number
            extends the comparison, and the intervals are corrected for it.
        name: Name of the folder.
        parallel: Number of runs side by side: by default one on each GPU that `device` names, such as `device="0,1"`,
            else one. The CPU threads and data loader workers of each are those of the machine less one, divided by
            this number when the comparison begins.
        folds: Number of folds of a cross-validation over the training images, in the place of one validation; 0 for
            none. For sets of a few hundred images.
        split: "test" scores each run's best checkpoint on the test images, "val" the mean of its last epochs on the
            validation images. Without it, test images are used where the data have some.
        margin: A difference of the metric that does not matter, such as 0.005: then the verdict may be "equal within
            it" or "not worse by as much".
        all_pairs: Compare every model with every other.
        snapshot_every: Epochs from one snapshot of a run to the next.
        lang: Language of the report, "en" or "zh".
        per_device: Number of runs side by side on each of the GPUs that `device` names.
        gpus_per_run: Number of GPUs that share each batch of a run, for models that one GPU has no room for. Runs side
            by side on one GPU each take less time.
        budget: What all runs together may take, such as "12h", "90min" or "500epochs". If it does not pay for all
            models with all seeds, short trainings with a seed of their own choose those that it is spent on, by
            successive halving; the first model is never dropped.
        seed: The first of the seeds; the others are the numbers after it. What was chosen by a comparison of the seeds
            0 to 2 is confirmed by one with `seed=3`.
        control: Add the first model, a YAML with scales, at the smallest width at which it has no fewer parameters and
            GFLOPs than the dearest of the others, so that a gain can be told from mere size.
        engine: "local", or "ray" for a Ray cluster, whose nodes have the data under the same paths. Each run takes a
            GPU where the cluster has some and `device` is not "cpu", and the CPUs that the cluster's smallest node has
            for one; `parallel` is the largest number of runs at once, without it as many as fit. A run whose node is
            lost goes on elsewhere from its last snapshot.
        address: Address of the Ray cluster, of which this machine is a node; without it Ray is started on this machine.
        storage: Where the checkpoints go of runs on a Ray cluster: a folder that all nodes share or a URI that pyarrow
            opens, such as "s3://bucket/folder". Without it, the comparison's own folder, which they must share then.
        **arguments: Whatever else `yolo train` takes, such as `epochs=50`, `pretrained="yolov8n.pt"`, or `time=0.5`,
            which gives each run half an hour in the place of a number of epochs.

    Returns:
        A row for each run: model, seed, whether it finished, its scores and metrics, its cost, and why it failed.

    Raises:
        ConfigError: Something that cannot work, or that is not what the comparison in this folder was begun with, or
            another process works on it.
    """
    for package in _PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise ConfigError(f"compare: it needs the package {package}: pip install 'yolo-focal[compare]'")
    if engine not in {"local", "ray"}:
        raise ConfigError(f"engine={engine}: write engine=local or engine=ray")
    for key, value in (("address", address), ("storage", storage)):
        if value is not None and engine != "ray":
            raise ConfigError(f"{key}={value}: it goes with engine=ray")
    if engine == "ray" and any(importlib.util.find_spec(package) is None for package in _FOR_RAY):
        raise ConfigError("engine=ray: it needs Ray Tune: pip install 'yolo-focal[ray]'")
    import torch

    from yolo_focal.comparison.pipeline import conduct
    from yolo_focal.comparison.study.request import Options

    options = Options(
        *(seeds, parallel, folds, split, margin, all_pairs, snapshot_every, lang, per_device, gpus_per_run, budget),
        seed=seed,
        control=control,
    )
    threads = torch.get_num_threads()
    try:
        return conduct(data, models, name, options, engine == "ray", address, storage, arguments)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise ConfigError(
            f"name={name}: no space is left on the disk; free some, and the same command goes on"
        ) from None
    finally:
        torch.set_num_threads(threads)  # Ultralytics sets its own

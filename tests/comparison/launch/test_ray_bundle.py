"""What goes from one node of a Ray cluster to another: bundles that are whole, and where they are stored."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from comparison.clusters import needs_ray

from yolo_focal import ConfigError
from yolo_focal.comparison.launch import ray_bundle
from yolo_focal.comparison.store.run_folder import RESULT


def a_run(folder: Path, epoch: int) -> Path:
    """Write what a run leaves after an epoch."""
    snapshot = folder / "snapshots" / f"epoch-{epoch}"
    for file in (
        snapshot / "state.pt",
        folder / "validations" / f"epoch-{epoch}.npz",
        folder / "m-seed0" / "args.yaml",
    ):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{file.name} {epoch}")
    for name in ("times.json", "log.txt", "task.json", ".lock.json"):
        (folder / name).write_text(f"{name} {epoch}")
    return snapshot


def files(folder: Path) -> list[str]:
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())


def test_a_bundle_is_taken_over_whole_or_not_at_all(tmp_path: Path) -> None:
    there, here = tmp_path / "there" / "m" / "seed0", tmp_path / "here" / "m" / "seed0"
    ray_bundle.pack_to_go_on(there, a_run(there, 2), tmp_path / "packed")
    a_run(here, 1)
    for name in ("snapshots/epoch-2/state.pt", "manifest.json", "log.txt"):
        damaged = tmp_path / "damaged"
        shutil.copytree(tmp_path / "packed", damaged)
        (damaged / name).write_bytes((damaged / name).read_bytes()[:-3])
        before = {name: (here / name).read_bytes() for name in files(here)}
        assert not ray_bundle.unpack(damaged, here)
        (damaged / name).unlink()
        assert not ray_bundle.unpack(damaged, here)
        assert {name: (here / name).read_bytes() for name in files(here)} == before
        shutil.rmtree(damaged)
    assert ray_bundle.unpack(tmp_path / "packed", here)
    ours = [".lock.json", "task.json"]  # of the machine itself
    theirs = ["log.txt", "snapshots/epoch-2/state.pt", "times.json", "validations/epoch-2.npz"]
    assert files(here) == sorted(ours + theirs)
    assert (here / "log.txt").read_text() == "log.txt 2" and (here / "task.json").read_text() == "task.json 1"


def test_what_a_run_writes_on_does_not_change_its_bundle(tmp_path: Path) -> None:
    there = tmp_path / "m" / "seed0"
    ray_bundle.pack_to_go_on(there, a_run(there, 0), tmp_path / "packed")
    with (there / "log.txt").open("a") as log:
        log.write("more")
    shutil.rmtree(there / "snapshots")
    assert ray_bundle.unpack(tmp_path / "packed", tmp_path / "elsewhere" / "seed0")


def test_the_result_is_put_there_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there, here = tmp_path / "there" / "m" / "seed0", tmp_path / "here" / "m" / "seed0"
    a_run(there, 2)
    (there / RESULT).write_text("{}")
    ray_bundle.pack_whole(there, tmp_path / "packed")
    copied: list[str] = []
    copy = shutil.copyfile
    monkeypatch.setattr(shutil, "copyfile", lambda source, to: (copied.append(Path(source).name), copy(source, to)))
    assert ray_bundle.unpack(tmp_path / "packed", here)
    assert copied[-1] == RESULT and "m-seed0/args.yaml" in files(here)


@needs_ray
def test_storage_finds_the_newest_checkpoint_first(tmp_path: Path) -> None:
    from yolo_focal.comparison.launch.ray_storage import open_storage

    storage = open_storage(str(tmp_path / "storage"), "compare")
    assert storage.checkpoints("seed0-aa") == []
    places = [f"{call}/seed0-{run}/checkpoint_00000{n}" for call in "12" for run in ("aa", "ab") for n in (0, 1)]
    for place in places:
        (tmp_path / "storage" / "compare" / place).mkdir(parents=True)
    found = [path.partition("compare/")[2] for path in storage.checkpoints("seed0-aa")]
    assert found == [f"{call}/seed0-aa/checkpoint_00000{number}" for call in "21" for number in "10"]
    storage.remove()
    assert list((tmp_path / "storage").iterdir()) == []


@needs_ray
def test_a_run_goes_on_from_its_newest_checkpoint_that_is_whole(tmp_path: Path) -> None:
    """Also from one that its node has written before it was lost, and of which Ray Tune has not heard."""
    from yolo_focal.comparison.launch import ray_node
    from yolo_focal.comparison.launch.ray_storage import open_storage

    storage = open_storage(str(tmp_path / "storage"), "compare")
    there, here = tmp_path / "there" / "m" / "seed0", tmp_path / "here" / "m" / "seed0"
    ray_node._restore(here, "m-seed0-aa", storage)
    assert not here.exists()
    places = [tmp_path / "storage/compare" / place / "m-seed0-aa" for place in ("1", "2")]
    checkpoints = [places[0] / "checkpoint_000003", *(places[1] / f"checkpoint_00000{number}" for number in (0, 1))]
    for epoch, checkpoint in enumerate(checkpoints):
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        ray_bundle.pack_to_go_on(there, a_run(there, epoch), checkpoint)
        shutil.rmtree(there)
    for epoch in (2, 1, 0):
        ray_node._restore(here, "m-seed0-aa", storage)
        assert [path.name for path in (here / "snapshots").iterdir()] == [f"epoch-{epoch}"]
        (checkpoints[epoch] / "times.json").unlink()


@needs_ray
def test_storage_that_cannot_be_opened(tmp_path: Path) -> None:
    from yolo_focal.comparison.launch.ray_storage import open_storage

    (tmp_path / "file").touch()
    for place in (str(tmp_path / "file"), "nowhere://bucket/folder"):
        with pytest.raises(ConfigError) as caught:
            open_storage(place, "compare")
        assert str(caught.value).startswith(f"storage={place}: ")
        assert str(caught.value).endswith(
            "; write a folder that every node of the cluster sees, or a URI such as s3://bucket/folder"
        )

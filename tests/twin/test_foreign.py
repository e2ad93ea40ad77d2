"""`yolo-focal derive weights=`: checkpoints of models with FocalNet from published weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import focalnets
import pytest
import torch
import ultralytics
from focalnets import normalized
from safetensors.torch import save_file
from support import COMMAND, YOLO, run
from torch import nn

from yolo_focal import ConfigError
from yolo_focal.focal import FocalEmbed, FocalStage
from yolo_focal.twin import foreign

# What yolov8n-focalnet-cls.yaml is; yolov8n-focalnet.yaml has larger windows.
SMALLEST = {"channels": 32, "depths": (2, 2, 6, 2), "focal_level": 2, "focal_window": 3}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A file of each format, the models whose weights they have, and others that are refused."""
    folder = tmp_path_factory.mktemp("weights")
    timm, transformers = focalnets.timm(**SMALLEST), focalnets.transformers(**SMALLEST)
    papers = {"model": focalnets.papers_names(timm.state_dict())}
    torch.save(papers, folder / "papers.pth")
    torch.save(timm.state_dict(), folder / "timm.pth")
    torch.save(transformers.state_dict(), folder / "transformers.bin")
    save_file(timm.state_dict(), folder / "timm.safetensors")
    torch.save({**papers, "config": nn.Identity()}, folder / "code.pth")
    torch.save([1, 2], folder / "list.pth")
    (folder / "text.safetensors").write_text("weights")
    models = {"papers.pth": timm, "timm.pth": timm, "timm.safetensors": timm, "transformers.bin": transformers}
    yield {"folder": folder, "models": models}


def logits(theirs: Any, image: torch.Tensor) -> torch.Tensor:
    out = theirs(normalized(image))
    return getattr(out, "logits", out)


@pytest.mark.parametrize("name", ["papers.pth", "timm.pth", "timm.safetensors", "transformers.bin"])
def test_the_classifier_has_the_logits_of_its_origin(name: str, files: dict[str, Any], tmp_path: Path) -> None:
    save = tmp_path / "new" / "in1k.pt"
    foreign.derive_weights("yolov8n-focalnet-cls.yaml", str(files["folder"] / name), save)
    assert [file.name for file in save.parent.iterdir()] == ["in1k.pt"]
    ours = ultralytics.YOLO(save)
    image = torch.rand(2, 3, 224, 224)
    with torch.no_grad():
        expected = logits(files["models"][name], image)
        out = ours.model.eval()(image)
    probabilities = out[0] if isinstance(out, tuple) else out
    torch.testing.assert_close(probabilities, expected.softmax(1), rtol=1e-4, atol=1e-7)
    if isinstance(out, tuple):  # as of 8.3.x
        assert (out[1] - expected).abs().max() <= 1e-4 * max(1, expected.abs().max())
    assert ours.task == "classify"
    assert (ours.names[0], ours.names[999]) == ("tench", "toilet paper")
    assert ours.overrides["imgsz"] == 224


def test_the_detector_has_the_features_of_its_origin(files: dict[str, Any], tmp_path: Path) -> None:
    out = run(
        *(COMMAND, "derive", "model=yolov8n-focalnet.yaml", f"weights={files['folder'] / 'timm.pth'}", "save=in1k.pt"),
        cwd=tmp_path,
    ).stdout
    assert f"taken from {files['folder'] / 'timm.pth'} (timm): 4 embeddings, 4 stages" in out
    assert "filled up: stage 4: kernels of 3, 5 filled up with zeros to 9, 11" in out
    assert "left: the last norm and the head of 1000 classes: the model is no classifier" in out
    assert out.splitlines()[-1] == "yolo train model=in1k.pt cfg=focalnet.yaml data=my.yaml"
    x = image = torch.rand(1, 3, 96, 64)
    features = []
    with torch.no_grad():
        for layer in ultralytics.YOLO(tmp_path / "in1k.pt").model.float().eval().model:
            if isinstance(layer, (FocalEmbed, FocalStage)):
                x = layer(x)
                features += [x] if isinstance(layer, FocalStage) else []
        for our, their in zip(
            features, focalnets.timm_features(files["models"]["timm.pth"], normalized(image)), strict=True
        ):
            torch.testing.assert_close(our, their, rtol=1e-3, atol=1e-4 * their.abs().max().item())


@pytest.mark.parametrize(
    ("model", "weights", "message"),
    [
        ("yolov8n.yaml", "timm.pth", "model=yolov8n.yaml: it has no FocalNet, which published weights are for; write "),
        ("yolov8s-focalnet.yaml", "timm.pth", "weights={}/timm.pth: channels: they have 32 64 128 256, and the model "),
        ("yolov8n-focalnt.yaml", "timm.pth", "model=yolov8n-focalnt.yaml: there is no such model YAML; did you mean "),
        ("yolov8n-focalnet.yaml", "no.pth", "weights={}/no.pth: there is no such file"),
        (
            "yolov8n-focalnet.yaml",
            "list.pth",
            "weights={}/list.pth: it is no state dict, a mapping of names to tensors",
        ),
        (
            "yolov8n-focalnet.yaml",
            "code.pth",
            "weights={}/code.pth: it cannot be read as tensors alone, without running ",
        ),
        ("yolov8n-focalnet.yaml", "text.safetensors", "weights={}/text.safetensors: it cannot be read: "),
    ],
)
def test_what_cannot_be_taken_is_refused_in_words(
    model: str, weights: str, message: str, files: dict[str, Any], tmp_path: Path
) -> None:
    folder = files["folder"]
    with pytest.raises(ConfigError) as caught:
        foreign.derive_weights(model, str(folder / weights), tmp_path / "new.pt")
    assert str(caught.value).startswith(message.format(folder))
    assert not list(tmp_path.iterdir())


def test_an_existing_file_is_not_overwritten(files: dict[str, Any], tmp_path: Path) -> None:
    save = tmp_path / "mine.pt"
    save.write_text("mine")
    with pytest.raises(ConfigError, match="there is another file of that name; write save= with a new one"):
        foreign.derive_weights("yolov8n-focalnet.yaml", str(files["folder"] / "timm.pth"), save)
    assert save.read_text() == "mine"


def test_a_name_that_cannot_be_downloaded_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def fail(repository: str, file: str) -> str:
        raise OSError(f"no network for {repository} {file}")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    with pytest.raises(ConfigError) as caught:
        foreign.read("focalnet_tiny_lrf.ms_in1k")
    assert str(caught.value) == (
        "weights=focalnet_tiny_lrf.ms_in1k: it cannot be downloaded from huggingface.co/timm/focalnet_tiny_lrf.ms_in1k"
        ": OSError; download model.safetensors from there and write weights= with that file"
    )
    with pytest.raises(ConfigError) as caught:
        foreign.read("resnet50")
    assert str(caught.value) == (
        "weights=resnet50: write a file (.pth, .pt, .bin, .safetensors), or the name of timm's weights, such as "
        "focalnet_tiny_lrf.ms_in1k"
    )


def test_what_is_downloaded_is_read(files: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def download(repository: str, file: str) -> str:
        assert (repository, file) == ("timm/focalnet_tiny_lrf.ms_in1k", "model.safetensors")
        return str(files["folder"] / "timm.safetensors")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    assert "stem.proj.weight" in foreign.read("focalnet_tiny_lrf.ms_in1k")


@pytest.mark.slow
def test_the_published_width_has_timms_logits(tmp_path: Path) -> None:
    theirs = focalnets.timm(**focalnets.VARIANTS["tiny_lrf"])
    with torch.no_grad():
        for parameter in theirs.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.02)
    torch.save(theirs.state_dict(), tmp_path / "tiny.pth")
    foreign.derive_weights("yolov8s-focalnet-cls.yaml", str(tmp_path / "tiny.pth"), tmp_path / "in1k.pt")
    image = torch.rand(2, 3, 224, 224)
    with torch.no_grad():
        expected = logits(theirs, image).softmax(1)
        out = ultralytics.YOLO(tmp_path / "in1k.pt").model.eval()(image)
    torch.testing.assert_close(out[0] if isinstance(out, tuple) else out, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize(("suffix", "data"), [("", "shapes.yaml"), ("-cls", "shapes-cls")])
def test_what_was_derived_trains_by_the_stock_command(
    suffix: str, data: str, files: dict[str, Any], tmp_path: Path
) -> None:
    """One epoch, validation under restricted loading, prediction, resuming, export to ONNX."""
    if suffix:
        run(COMMAND, "shapes-cls", cwd=tmp_path)
    weights = f"weights={files['folder'] / 'timm.pth'}"
    run(COMMAND, "derive", f"model=yolov8n-focalnet{suffix}.yaml", weights, "save=in1k.pt", cwd=tmp_path)
    small = (f"data={data}", "imgsz=64", "batch=16", "workers=0", "plots=False")
    trained = run(
        YOLO, "train", "model=in1k.pt", "cfg=focalnet.yaml", *small, "epochs=2", "name=t", "save_period=1", cwd=tmp_path
    ).stdout
    assert "Transferred" in trained
    folder = next(tmp_path.glob("runs/*/t"))
    assert "lr0: 0.0001" in (folder / "args.yaml").read_text()
    last = folder / "weights" / "last.pt"
    run(YOLO, "val", f"model={last}", *small, cwd=tmp_path, ULTRALYTICS_SAFE_LOAD="1")
    run(YOLO, "train", "resume=True", f"model={folder / 'weights' / 'epoch0.pt'}", "workers=0", cwd=tmp_path)
    exported = run(YOLO, "export", f"model={last}", "format=onnx", "imgsz=64", cwd=tmp_path).stdout
    assert "export success" in exported
    image = torch.rand(1, 3, 64, 64)
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(last.with_suffix(".onnx")))
    (result, *_) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    model = ultralytics.YOLO(last).model.float().eval()
    with torch.no_grad():
        out = model(image)
    expected = out[0] if isinstance(out, tuple) else out
    assert abs(torch.from_numpy(result) - expected).max() < 1e-3

"""The deployment examples, built and run as their users would, against scripts/predict_onnx.py."""

from __future__ import annotations

import http.server
import json
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import pytest
from detections import read, same
from support import REPO, YOLO, run

from yolo_focal.shapes.scenes import scene

pytestmark = pytest.mark.slow
SCRIPT = REPO / "scripts" / "predict_onnx.py"
CPP = REPO / "scripts" / "deploy" / "cpp"
WEB = REPO / "scripts" / "deploy" / "web"
FOR_OPENCV46 = CPP / "for_opencv46.py"
CONF = 0.1


def needs(**packages: str) -> None:
    """Skip the test where a program is missing, and name the Debian package that brings it."""
    for program, package in packages.items():
        if not shutil.which(program):
            pytest.skip(f"{program} is missing: apt-get install {package}")


@pytest.fixture(scope="module")
def folder(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two exports, `last.onnx` and `last12.onnx` for old OpenCV, and images, one of them of the model's size."""
    folder = tmp_path_factory.mktemp("deploy")
    for name, opset in {"last": [], "last12": ["opset=12"]}.items():
        shutil.copy(checkpoint, folder / f"{name}.pt")
        run(YOLO, "export", f"model={name}.pt", "format=onnx", *opset, cwd=folder)
    for i, size in enumerate([(128, 128), (700, 500), (150, 200), (333, 517)]):
        cv2.imwrite(str(folder / f"{i}.png"), cv2.resize(scene("val", i)[0], size))
    run(sys.executable, FOR_OPENCV46, "model=last12.onnx", cwd=folder)
    return folder


def by_script(folder: Path, image: Path, model: str) -> list:
    args = (f"model={model}", f"source={image.name}", f"conf={CONF}", "save=script.png")
    return read(run(sys.executable, SCRIPT, *args, cwd=folder).stdout)


def test_what_is_rewritten_for_an_old_opencv_computes_the_same(folder: Path) -> None:
    image = np.random.default_rng(0).random((1, 3, 128, 128), np.float32)
    before, after = (
        onnxruntime.InferenceSession(folder / name).run(None, {"images": image})[0]
        for name in ("last12.onnx", "last12-opencv46.onnx")
    )
    assert abs(before - after).max() < 1e-4


def test_an_export_that_cannot_be_rewritten_is_named(folder: Path) -> None:
    done = run(sys.executable, FOR_OPENCV46, "model=last.onnx", cwd=folder, check=False)
    assert done.returncode == 1
    assert done.stdout.startswith("model=last.onnx: exported with opset=")
    assert done.stdout.endswith("make it with: yolo export model=best.pt format=onnx opset=12\n")


@pytest.fixture(scope="module")
def predict(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C++ example, built."""
    needs(cmake="cmake", **{"c++": "g++"})
    build = tmp_path_factory.mktemp("build")
    configured = run("cmake", "-S", CPP, "-B", build, cwd=build, check=False)
    if "OpenCVConfig.cmake" in configured.stdout:
        pytest.skip("OpenCV's headers are missing: apt-get install libopencv-dev")
    run("cmake", "--build", build, cwd=build)
    return build / "predict"


def test_the_cpp_example_finds_the_same_boxes(predict: Path, folder: Path, tmp_path: Path) -> None:
    total = 0
    for image in sorted(folder.glob("[0-9].png")):
        save = tmp_path / image.name
        args = ("model=last12-opencv46.onnx", f"source={image.name}", f"conf={CONF}", f"save={save}")
        out = run(predict, *args, cwd=folder).stdout
        expected = by_script(folder, image, "last12.onnx")
        same(read(out), expected)
        assert out.splitlines()[-1] == f"{len(expected)} boxes, drawn in {save}"
        drawn, before = cv2.imread(str(save)), cv2.imread(str(image))
        assert drawn.shape == before.shape
        assert (drawn != before).any() == bool(expected)
        total += len(expected)
    assert total > 3


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "model= is missing: predict model=best.onnx source=photo.jpg"),
        (["model=no.onnx", "source=0.png"], "model=no.onnx: no such file; make it with: yolo export"),
        (["model=0.png", "source=0.png"], "model=0.png: no detection model exported by Ultralytics; make it with: "),
        (["model=last.onnx", "source=no.jpg"], "source=no.jpg: no image can be read there; write the path of a JPEG"),
        (["model=last.onnx", "source=0.png", "conf=high"], "conf=high: write a number, such as conf=0.25"),
        (["modle=last.onnx"], "modle=last.onnx: unknown argument; write key=value, key one of conf, iou, model"),
        (["model=last12-opencv46.onnx", "source=0.png", "save=no/out.png"], "save=no/out.png: the image cannot be"),
    ],
)
def test_wrong_arguments_are_named(args: list[str], message: str, predict: Path, folder: Path) -> None:
    done = run(predict, *args, cwd=folder, check=False)
    assert done.returncode == 1
    assert any(line.startswith(message) for line in done.stdout.splitlines())


class Browser:
    """Chromium without a window, driven through chromedriver as the WebDriver standard has it."""

    FLAGS = (
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    )

    def __init__(self, profile: Path) -> None:
        self.driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True)
        port = next(
            match[1] for line in self.driver.stdout if (match := re.search(r"successfully on port (\d+)", line))
        )
        self.at = f"http://127.0.0.1:{port}/session"
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy is none of its business
        options = {"args": [*self.FLAGS, f"--user-data-dir={profile}"]}
        capabilities = {"capabilities": {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options}}}
        self.at += "/" + self.call("", **capabilities)["sessionId"]

    def call(self, path: str, **body: object) -> Any:
        request = urllib.request.Request(self.at + path, json.dumps(body).encode())
        with self.opener.open(request, timeout=120) as answer:
            return json.load(answer)["value"]

    def read(self, script: str) -> Any:
        return self.call("/execute/sync", script=f"return {script}", args=[])

    def choose(self, picker: str, file: Path) -> None:
        element = self.call("/element", using="css selector", value=picker)
        self.call(f"/element/{next(iter(element.values()))}/value", text=str(file))

    def settled(self) -> str:
        """Return the status line when the page has finished its work."""
        deadline = time.monotonic() + 60
        while True:
            status = self.read("document.getElementById('status').textContent").strip()
            if not status.startswith(("Starting", "Loading", "Predicting")) or time.monotonic() > deadline:
                return status
            time.sleep(0.1)

    def boxes(self) -> list:
        """The page's list of boxes, as the script's printed lines are read."""
        rows = self.read("[...document.querySelectorAll('tbody tr')].map(r => [...r.cells].map(c => c.textContent))")
        return read("\n".join(" ".join(row) for row in rows))


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a copy of the web example, installed as its lock file says."""
    needs(npm="npm")
    copy = tmp_path_factory.mktemp("site") / "web"
    shutil.copytree(WEB, copy, ignore=shutil.ignore_patterns("node_modules"))
    run("npm", "ci", cwd=copy)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(copy)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    needs(chromium="chromium", chromedriver="chromium-driver")
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.opener.open(urllib.request.Request(browser.at, method="DELETE"), timeout=60).close()
    browser.driver.terminate()
    browser.driver.wait()


def same_in_browser(browser: Browser, expected: list) -> None:
    """OpenCV resizes images in integers, the page in floating point: a value may differ by one of 255."""
    boxes = browser.boxes()
    assert [name for name, *_ in boxes] == [name for name, *_ in expected]
    for (_, score, corners), (_, their_score, their_corners) in zip(boxes, expected, strict=True):
        assert score == pytest.approx(their_score, abs=0.01)
        assert abs(corners - their_corners).max() < 1


def test_the_web_example_finds_the_same_boxes(browser: Browser, site: str, folder: Path) -> None:
    total = 0
    browser.call("/url", url=f"{site}?conf={CONF}")
    browser.choose("#model", folder / "last.onnx")
    for image in sorted(folder.glob("[0-9].png")):
        browser.choose("#source", image)
        expected = by_script(folder, image, "last.onnx")
        count = f"{len(expected)} {'box' if len(expected) == 1 else 'boxes'}"
        assert re.fullmatch(count + r" by last\.onnx, inference \d+\.\d\sms", browser.settled())
        same_in_browser(browser, expected)
        total += len(expected)
        assert browser.read("document.getElementById('image').width > 0")
        loaded = browser.read("performance.getEntriesByType('resource').map(entry => entry.name)")
        assert any(name.endswith(".wasm") for name in loaded)
        assert all(name.startswith((site, "data:")) for name in loaded)
    assert total > 3


def test_files_are_picked_one_after_the_other(browser: Browser, site: str, folder: Path) -> None:
    browser.call("/url", url=f"{site}?conf={CONF}")
    assert browser.settled() == "Choose a model and an image."
    browser.choose("#source", folder / "0.png")
    assert browser.settled() == "Choose a model."
    browser.choose("#model", folder / "last.onnx")
    browser.settled()
    same_in_browser(browser, by_script(folder, folder / "0.png", "last.onnx"))
    browser.choose("#source", folder / "1.png")
    browser.settled()
    same_in_browser(browser, by_script(folder, folder / "1.png", "last.onnx"))


@pytest.mark.parametrize(
    ("conf", "files", "message"),
    [
        (
            CONF,
            {"#model": "0.png"},
            "model=0.png: no detection model exported by Ultralytics; "
            "make it with: yolo export model=best.pt format=onnx",
        ),
        (
            CONF,
            {"#source": "last.onnx"},
            "source=last.onnx: no image can be read there; choose a JPEG, PNG or WebP file",
        ),
        ("high", {"#model": "last.onnx", "#source": "0.png"}, "conf=high: write a number, such as conf=0.25"),
    ],
)
def test_the_page_names_what_is_wrong(
    conf: object, files: dict[str, str], message: str, browser: Browser, site: str, folder: Path
) -> None:
    browser.call("/url", url=f"{site}?conf={conf}")
    for picker, name in files.items():
        browser.choose(picker, folder / name)
    assert browser.settled() == message
    assert browser.read("document.getElementById('status').className") == "error"

// Run an exported detection model on an image in the browser. http://localhost:8000/?conf=0.25&iou=0.7 sets thresholds.
// The boxes are those of scripts/predict_onnx.py, which this follows step by step.

import * as ort from "./node_modules/onnxruntime-web/dist/ort.wasm.min.mjs";

const GRAY = 114; // Ultralytics' padding value
const MAX_BOXES = 300;

const query = new URLSearchParams(location.search);
const element = (id) => document.getElementById(id);
let model = null; // {session, label, names, height, width}
let image = null; // an ImageBitmap
let boxes = []; // {name, cls, score, corners: [left, top, right, bottom]} in pixels of the image

// ---- the model file

/**
 * Return a value of an ONNX file's metadata, which onnxruntime-web does not: undefined if there is none. The file has a
 * byte 10, the length of the key, the key, a byte 18, the length of the value, and the value. A length is written 7 bits
 * at a time.
 */
function metadata(data, key) {
  const before = `\n${String.fromCharCode(key.length)}${key}\x12`;
  let at = new TextDecoder("latin1").decode(data).lastIndexOf(before); // a character for each byte
  if (at < 0) return undefined;
  at += before.length;
  for (let size = 0, factor = 1; ; factor *= 128) {
    const byte = data[at++];
    size += (byte & 127) * factor;
    if (byte < 128) return new TextDecoder().decode(data.subarray(at, at + size));
  }
}

/** Parse the class names, which Ultralytics writes as Python does: {0: 'circle', 1: "driver's cab"}. */
function readNames(text) {
  const entries = text.matchAll(/(\d+): (?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)")/g);
  return Object.fromEntries([...entries].map(([, cls, a, b]) => [cls, (a ?? b).replace(/\\(.)/g, "$1")]));
}

async function loadModel(file) {
  const data = new Uint8Array(await file.arrayBuffer());
  // A model exported with dynamic=True also runs at the size with which it was exported.
  const size = /^\[(\d+), (\d+)\]$/.exec(metadata(data, "imgsz"));
  if (!size || metadata(data, "task") !== "detect") {
    const command = "yolo export model=best.pt format=onnx";
    throw new Error(`model=${file.name}: no detection model exported by Ultralytics; make it with: ${command}`);
  }
  const session = await ort.InferenceSession.create(data, { executionProviders: ["wasm"] }).catch((error) => {
    throw new Error(`model=${file.name}: onnxruntime-web cannot run it: ${error.message ?? error}`);
  });
  const names = readNames(metadata(data, "names"));
  model = { session, label: file.name, names, height: Number(size[1]), width: Number(size[2]) };
}

// ---- the model's input

/** Round halves to even, as Python does. */
function round(value) {
  const up = Math.round(value);
  return up - value === 0.5 && up % 2 ? up - 1 : up;
}

/** Source positions of OpenCV's bilinear resize along one axis: two neighbours and the weight of the second. */
function neighbours(from, to) {
  return Array.from({ length: to }, (_, i) => {
    const at = Math.max(((i + 0.5) * from) / to - 0.5, 0);
    const first = Math.min(Math.floor(at), from - 1);
    return [first, Math.min(first + 1, from - 1), at - first];
  });
}

/**
 * Resize the image to the model's input, keeping the aspect ratio, and pad it with gray as Ultralytics does.
 *
 * Not resized by a canvas, because browsers interpolate differently, and the boxes would differ from Python's. The
 * scales across and down are those of the resized image: rounded to whole pixels, they differ a little.
 */
function letterbox() {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.width, image.height];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  const pixels = context.getImageData(0, 0, image.width, image.height).data;

  const { width, height } = model;
  const scale = Math.min(height / image.height, width / image.width);
  const [across, down] = [image.width, image.height].map((side) => Math.max(round(side * scale), 1));
  // Half of the padding on each side; if it is odd, the larger half is at the right and the bottom.
  const [left, top] = [round((width - across) / 2 - 0.1), round((height - down) / 2 - 0.1)];
  const columns = neighbours(image.width, across);
  const rows = neighbours(image.height, down);

  const input = new Float32Array(3 * height * width).fill(GRAY / 255); // the red, the green and the blue channel
  rows.forEach(([above, below, v], y) => {
    columns.forEach(([before, after, u], x) => {
      for (let channel = 0; channel < 3; channel++) {
        const pixel = (row, column) => pixels[(row * image.width + column) * 4 + channel];
        const upper = pixel(above, before) * (1 - u) + pixel(above, after) * u;
        const lower = pixel(below, before) * (1 - u) + pixel(below, after) * u;
        input[(channel * height + y + top) * width + x + left] = Math.round(upper * (1 - v) + lower * v) / 255;
      }
    });
  });
  const scales = [across / image.width, down / image.height];
  return { input: new ort.Tensor("float32", input, [1, 3, height, width]), scales, left, top };
}

// ---- the boxes

function overlap([left, top, right, bottom], [left2, top2, right2, bottom2]) {
  const w = Math.max(Math.min(right, right2) - Math.max(left, left2), 0);
  const h = Math.max(Math.min(bottom, bottom2) - Math.max(top, top2), 0);
  return (w * h) / ((right - left) * (bottom - top) + (right2 - left2) * (bottom2 - top2) - w * h);
}

/** Return the boxes above the confidence after non-maximum suppression, the most confident first. */
function decode({ data, dims: [, rows, count] }, conf, iou) {
  const candidates = [];
  for (let i = 0; i < count; i++) {
    let best = 4; // centre x and y, width, height, then a confidence per class
    for (let row = 5; row < rows; row++) if (data[row * count + i] > data[best * count + i]) best = row;
    const score = data[best * count + i];
    if (score <= conf) continue;
    const [x, y, w, h] = [0, 1, 2, 3].map((row) => data[row * count + i]);
    candidates.push({ cls: best - 4, score, corners: [x - w / 2, y - h / 2, x + w / 2, y + h / 2] });
  }
  candidates.sort((a, b) => b.score - a.score);
  const kept = [];
  for (const box of candidates) {
    if (kept.length === MAX_BOXES) break;
    if (!kept.some((other) => other.cls === box.cls && overlap(other.corners, box.corners) > iou)) kept.push(box);
  }
  return kept;
}

async function predict() {
  const [conf, iou] = [number("conf", 0.25), number("iou", 0.7)];
  const { input, scales, left, top } = letterbox();
  const { session, names } = model;
  const start = performance.now();
  const output = (await session.run({ [session.inputNames[0]]: input }))[session.outputNames[0]];
  const ms = performance.now() - start;
  if (output.dims.length !== 3 || output.dims[1] !== 4 + Object.keys(names).length) {
    throw new Error(`model=${model.label}: it sorts its boxes out itself; export it without nms=`);
  }
  const limits = [image.width, image.height, image.width, image.height];
  boxes = decode(output, conf, iou).map(({ cls, score, corners }) => ({
    cls,
    score,
    name: names[cls],
    corners: corners.map((v, i) => Math.min(Math.max((v - (i % 2 ? top : left)) / scales[i % 2], 0), limits[i])),
  }));
  const count = `${boxes.length} ${boxes.length === 1 ? "box" : "boxes"}`;
  setStatus(`${count} by ${model.label}, inference ${ms.toFixed(1)}\u00a0ms`);
}

// ---- the page

function setStatus(text, isError = false) {
  element("status").textContent = text;
  element("status").className = isError ? "error" : "";
}

/** Draw the image and the boxes, whose lines and text have the same size on the screen however the image is scaled. */
function draw() {
  const canvas = element("image");
  canvas.hidden = !image;
  if (!image) return;
  [canvas.width, canvas.height] = [image.width, image.height];
  const context = canvas.getContext("2d");
  const pixel = image.width / canvas.clientWidth; // one of the screen, in those of the image
  context.drawImage(image, 0, 0);
  context.font = `600 ${13 * pixel}px system-ui, sans-serif`;
  context.textBaseline = "top";
  context.lineWidth = 2 * pixel;
  for (const { cls, name, score, corners } of [...boxes].reverse()) { // the most confident on top
    const [left, top, right, bottom] = corners;
    const text = `${name} ${score.toFixed(2)}`;
    const width = context.measureText(text).width + 8 * pixel;
    const x = Math.max(Math.min(left, image.width - width), 0);
    const y = Math.max(top - 18 * pixel, 0);
    context.strokeStyle = context.fillStyle = `hsl(${(cls * 94) % 360} 85% 60%)`;
    context.strokeRect(left, top, right - left, bottom - top);
    context.fillRect(x, y, width, 18 * pixel);
    context.fillStyle = "#000";
    context.fillText(text, x + 4 * pixel, y + 3 * pixel);
  }
}

function list() {
  const rows = boxes.map(({ name, score, corners }) => {
    const row = document.createElement("tr");
    for (const text of [name, score.toFixed(3), ...corners.map((v) => v.toFixed(1))]) {
      row.insertCell().textContent = text;
    }
    return row;
  });
  element("boxes").tBodies[0].replaceChildren(...rows);
  element("boxes").hidden = !rows.length;
}

function number(key, defaultValue) {
  const value = Number(query.get(key) || defaultValue);
  if (Number.isNaN(value)) throw new Error(`${key}=${query.get(key)}: write a number, such as ${key}=${defaultValue}`);
  return value;
}

async function loadImage(file) {
  try {
    // Without colour conversion, as in training.
    image = await createImageBitmap(file, { colorSpaceConversion: "none" });
  } catch {
    throw new Error(`source=${file.name}: no image can be read there; choose a JPEG, PNG or WebP file`);
  }
}

let work = Promise.resolve(); // loads and predictions run one after the other, as a session cannot run twice at once

/** Load a file, and predict if both the model and the image are loaded. */
function take(load, file) {
  work = work.then(async () => {
    try {
      boxes = [];
      setStatus(`Loading ${file.name}`);
      await load(file);
      draw();
      if (model && image) {
        setStatus("Predicting");
        await new Promise((done) => setTimeout(done)); // lets the browser draw the page
        await predict();
      } else {
        setStatus(model ? "Choose an image." : "Choose a model.");
      }
    } catch (error) {
      setStatus(error.message, true);
    }
    draw();
    list();
  });
}

setStatus("Choose a model and an image.");
for (const [key, load] of [["model", loadModel], ["source", loadImage]]) {
  element(key).addEventListener("change", ({ target: { files } }) => files.length && take(load, files[0]));
}
addEventListener("resize", draw);

// Run an exported detection model on an image in the browser: choose both files, or name them in the address:
//
//     http://localhost:8000/?model=best.onnx&source=photo.jpg[&conf=0.25][&iou=0.7]
//
// The boxes are those of scripts/predict_onnx.py, which this follows step by step.

import * as ort from "./node_modules/onnxruntime-web/dist/ort.wasm.min.mjs";

const GRAY = 114; // Ultralytics' padding value
const MAX_BOXES = 300;
const EXPORT = "make it with: yolo export model=best.pt format=onnx";

const query = new URLSearchParams(location.search);
const element = (id) => document.getElementById(id);
let model = null; // {session, label, names, height, width}
let image = null; // an ImageBitmap
let boxes = []; // {name, cls, score, corners: [left, top, right, bottom]} in pixels of the image

// ---- the model file

/** Yield a protobuf message's length-delimited fields: [number, bytes]. Throws a RangeError if it is not a message. */
function* fields(data) {
  let at = 0;
  const varint = () => {
    for (let value = 0, factor = 1; ; factor *= 128) {
      if (at >= data.length) throw new RangeError("the message is cut off");
      const byte = data[at++];
      value += (byte & 127) * factor; // not <<, whose results have 32 bits only
      if (byte < 128) return value;
    }
  };
  while (at < data.length) {
    const key = varint();
    const kind = key % 8;
    if (kind === 2) {
      const end = varint() + at;
      if (end > data.length) throw new RangeError("a field is longer than the file");
      yield [Math.floor(key / 8), data.subarray(at, end)];
      at = end;
    } else if (kind === 0) varint();
    else if (kind === 1) at += 8;
    else if (kind === 5) at += 4;
    else throw new RangeError("a wire type that ONNX does not use");
  }
}

/** Return an ONNX file's metadata_props, which onnxruntime-web does not: field 14, pairs of strings in 1 and 2. */
function readMetadata(data) {
  const text = new TextDecoder();
  const metadata = {};
  for (const [number, value] of fields(data)) {
    if (number !== 14) continue;
    const pair = Object.fromEntries(fields(value));
    metadata[text.decode(pair[1])] = text.decode(pair[2]);
  }
  return metadata;
}

/** Parse the class names, which Ultralytics writes as Python does: {0: 'circle', 1: "driver's cab"}. */
function readNames(text) {
  const entries = text.matchAll(/(\d+): (?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)")/g);
  return Object.fromEntries([...entries].map(([, cls, a, b]) => [cls, (a ?? b).replace(/\\(.)/g, "$1")]));
}

async function loadModel(data, label) {
  let metadata;
  try {
    metadata = readMetadata(data);
  } catch (error) {
    if (error instanceof RangeError) throw new Error(`model=${label}: no ONNX file; ${EXPORT}`);
    throw error;
  }
  // A model exported with dynamic=True also runs at the size with which it was exported.
  const size = /^\[(\d+), (\d+)\]$/.exec(metadata.imgsz ?? "");
  if (!size || !metadata.names || metadata.task !== "detect") {
    throw new Error(`model=${label}: no detection model exported by Ultralytics; ${EXPORT}`);
  }
  const session = await ort.InferenceSession.create(data, { executionProviders: ["wasm"] }).catch((error) => {
    throw new Error(`model=${label}: onnxruntime-web cannot run it: ${error.message ?? error}`);
  });
  model = { session, label, names: readNames(metadata.names), height: Number(size[1]), width: Number(size[2]) };
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

/** Draw the image and the boxes at the displayed size, so that lines and text are legible on every screen. */
function draw() {
  const canvas = element("image");
  canvas.hidden = !image;
  if (!image) return;
  const room = Math.min(document.body.clientWidth - 32, ((innerHeight * 0.75) / image.height) * image.width);
  const zoom = Math.min(room / image.width, 4); // small images are enlarged, at most 4 times
  const pixelRatio = devicePixelRatio || 1;
  [canvas.style.width, canvas.style.height] = [`${image.width * zoom}px`, `${image.height * zoom}px`];
  [canvas.width, canvas.height] = [image.width * zoom * pixelRatio, image.height * zoom * pixelRatio];
  const context = canvas.getContext("2d");
  context.scale(pixelRatio, pixelRatio);
  context.drawImage(image, 0, 0, image.width * zoom, image.height * zoom);
  context.font = "600 13px system-ui, sans-serif";
  context.textBaseline = "top";
  context.lineWidth = 2;
  for (const { cls, name, score, corners } of [...boxes].reverse()) { // the most confident on top
    const [left, top, right, bottom] = corners.map((v) => v * zoom);
    const text = `${name} ${score.toFixed(2)}`;
    const width = context.measureText(text).width + 8;
    const x = Math.max(Math.min(left - 1, image.width * zoom - width), 0);
    const y = Math.max(top - 18, 0);
    context.strokeStyle = context.fillStyle = `hsl(${(cls * 94) % 360} 85% 60%)`;
    context.strokeRect(left, top, right - left, bottom - top);
    context.fillRect(x, y, width, 18);
    context.fillStyle = "#000";
    context.fillText(text, x + 4, y + 3);
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
  const text = query.get(key) ?? String(defaultValue);
  if (text.trim() === "" || Number.isNaN(Number(text))) {
    throw new Error(`${key}=${text}: write a number, such as ${key}=${defaultValue}`);
  }
  return Number(text);
}

async function loadImage(blob, label) {
  try {
    // Without colour conversion, as in training.
    image = await createImageBitmap(blob, { colorSpaceConversion: "none" });
  } catch {
    throw new Error(`source=${label}: no image can be read there; choose a JPEG, PNG or WebP file`);
  }
}

async function download(key) {
  const url = query.get(key);
  const response = await fetch(url).catch(() => null);
  if (!response?.ok) {
    throw new Error(`${key}=${url}: nothing can be loaded there; write a file's path beside this page`);
  }
  return response.blob();
}

const load = {
  model: async (blob, label) => loadModel(new Uint8Array(await blob.arrayBuffer()), label),
  source: loadImage,
};

let work = Promise.resolve(); // loads and predictions run one after the other, as a session cannot run twice at once

/** Load a file for `key`, "model" or "source", and predict if both are loaded. */
function take(key, blob, label) {
  work = work.then(async () => {
    try {
      boxes = [];
      setStatus(`Loading ${label}`);
      await load[key](await blob(), label);
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
for (const key of ["model", "source"]) {
  element(key).addEventListener("change", ({ target: { files } }) => {
    if (files.length) take(key, async () => files[0], files[0].name);
  });
  if (query.has(key)) take(key, () => download(key), query.get(key));
}
addEventListener("resize", draw);

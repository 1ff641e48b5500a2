/* Reads pictures and runs the graph, so that the page never stands still. */
import {box, grey, mean, npy, probabilities, resized} from "./pixels.js";

const MOST = 61e6;  // pixels, as in the Python package
let ort, session, facts, last = null;

class Refusal extends Error {}
const tell = (kind, data = {}) => postMessage({kind, ...data});

async function fetched(name, progress) {
  const answer = await fetch(name).catch(() => null);
  if (!answer?.ok) throw new Refusal(`${name} is not beside this page: copy the whole folder that was exported.`);
  if (!progress || !answer.body) return new Uint8Array(await answer.arrayBuffer());
  const parts = [], reader = answer.body.getReader();
  let got = 0;
  for (let {done, value} = await reader.read(); !done; {done, value} = await reader.read()) {
    parts.push(value);
    tell("loading", {done: Math.min((got += value.length) / facts.bytes, 1)});
  }
  const whole = new Uint8Array(got);
  parts.reduce((at, part) => (whole.set(part, at), at + part.length), 0);
  return whole;
}

async function begin() {
  if (typeof WebAssembly !== "object" || typeof OffscreenCanvas !== "function")
    throw new Refusal("This browser runs no WebAssembly beside a page: take a Chrome, Edge, Firefox or Safari of 2023 or later, and switch its protection against scripts off for this page.");
  facts = JSON.parse(new TextDecoder().decode(await fetched("model.json")));
  const home = new URL(facts.runtime, location.href).href;
  try {
    ort = await import(home + "ort.wasm.bundle.min.mjs");
  } catch {
    throw new Refusal(`onnxruntime-web is not at ${facts.runtime}: run "npm install onnxruntime-web" and export the page again with its folder as the runtime.`);
  }
  ort.env.wasm.wasmPaths = {wasm: home + "ort-wasm-simd-threaded.wasm"};
  ort.env.wasm.numThreads = 1;  // more need a server that isolates the page
  ort.env.logLevel = "error";
  const model = await fetched("model.onnx", true);
  try {
    session = await ort.InferenceSession.create(model, {executionProviders: ["wasm"]});
  } catch (error) {
    throw new Refusal(`The graph can't be run here (${said(error)}): is ort-wasm-simd-threaded.wasm in ${facts.runtime}, and of the same version?`);
  }
  tell("ready");
}

async function decoded(file) {
  let picture;
  try {
    picture = await createImageBitmap(file, {imageOrientation: "from-image", colorSpaceConversion: "none"});
  } catch {
    const heic = /\.hei[cf]$/i.test(file.name) ? "; save it as JPEG" : "";
    throw new Refusal(`${file.name}: this browser can't read it as a picture (JPEG, PNG, WebP, AVIF, GIF, BMP)${heic}.`);
  }
  const size = {width: picture.width, height: picture.height};
  if (size.width * size.height > MOST) throw new Refusal(`${file.name}: has more than 61 million pixels; shrink it.`);
  const input = {height: facts.shape[1], width: facts.shape[2]};
  const rows = (y, count) => {
    const pen = new OffscreenCanvas(size.width, count).getContext("2d", {willReadFrequently: true});
    pen.fillStyle = "#fff";  // transparency is laid over white
    pen.fillRect(0, 0, size.width, count);
    pen.drawImage(picture, 0, -y);
    return pen.getImageData(0, 0, size.width, count).data;
  };
  try {
    const planes = resized(rows, size, input);
    return {planes: facts.shape[0] === 1 ? grey(planes) : planes, size, input};
  } finally {
    picture.close();
  }
}

async function run(planes, target) {
  const feed = {images: new ort.Tensor("float32", planes, [1, ...facts.shape])};
  if (facts.needs_class) feed.classes = new ort.Tensor("int64", BigInt64Array.of(BigInt(target ?? -1)), [1]);
  const {logits, masks} = await session.run(feed);
  return [probabilities(logits.data, facts.activation), masks.data];
}

/** The classifier's answer to a part of the picture: the rest has the mean colour, at the classifier's size. */
async function answerTo(planes, keep, target) {
  const n = keep.length, part = planes.map((v, i) => keep[i % n] ? v : facts.colour[Math.floor(i / n)]);
  return (await run(part, target))[0];
}

async function explain({file, target}) {
  const began = performance.now();
  if (file) last = await decoded(file);
  const {planes, size, input} = last;
  const [chances, map] = await run(planes, target);
  const average = mean(map, input, size);
  const top = chances.map((p, i) => [i, p]).sort((a, b) => b[1] - a[1] || a[0] - b[0]).slice(0, 5);
  const seconds = (performance.now() - began) / 1000;
  const asked = target ?? top[0][0], local = mean(map, input, input);
  const inside = Uint8Array.from(map, v => v >= local * (1 - 1e-9) && v > 0);
  const masked = [(await answerTo(planes, inside, asked))[asked], (await answerTo(planes, inside.map(v => 1 - v), asked))[asked]];
  last.map = map;
  tell("explained", {map, size, input, average, box: box(map, input, size, average), top, asked, chance: chances[asked], masked, seconds});
}

const said = error => String(error?.message ?? error).split("\n")[0].slice(0, 160);
let line = begin().then(() => true, failed);
function failed(error) {
  tell("failed", {text: error instanceof Refusal ? error.message : `Something went wrong (${said(error)}): reload the page, or try a smaller picture.`});
  return false;
}
onmessage = ({data}) => {
  line = line.then(ready => ready && (async () => {  // one after the other
    try {
      if (data.ask === "npy") tell("npy", {bytes: npy(last.map, last.input, last.size)});
      else await explain(data);
    } catch (error) { failed(error); }
    return true;
  })());
};

/* What is seen: choosing a picture, the views of its map, classes, downloads. Numbers come from worker.js. */
import {eachRow, kept} from "./pixels.js";

const find = id => document.getElementById(id);
const LONGEST = 1024;  // pixels of a drawn side
let facts = null, shown = null, picture = null, name = "", waiting = false;

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) key === "text" ? node.textContent = value : node.setAttribute(key, value);
  node.append(...children);
  return node;
}
const percent = p => p > 0 && p < 0.0005 ? "< 0.1%" : `${(100 * p).toFixed(1)}%`;
const label = i => facts.labels[i];

function say(text, wrong = false, bar = null) {
  const status = find("status");
  status.className = wrong ? "wrong" : "";
  status.setAttribute("role", wrong ? "alert" : "status");
  status.replaceChildren(text, ...(bar === null ? [] : [" ", make("progress", {value: bar, max: 1, "aria-label": text})]));
}

const worker = new Worker("worker.js", {type: "module"});
worker.onerror = event => { event.preventDefault(); say("worker.js could not be started: copy the whole folder that was exported, and open the page in a browser of 2023 or later.", true); };
worker.onmessage = ({data}) => ({
  loading: () => say("Loading the networks …", false, data.done),
  ready: () => { if (!waiting) say("Ready."); },
  failed: () => { waiting = false; clear(); say(data.text, true); },
  explained: () => { waiting = false; shown = data; say(`${name}: explained in ${data.seconds.toFixed(2)} s.`); draw(); },
  npy: () => save(new Blob([data.bytes]), "npy"),
})[data.kind]();

function clear() {
  shown = null;
  find("result").hidden = true;
}

function take(file) {
  clear();  // no old map beside a new picture
  name = file.name || "pasted picture";
  if (picture) URL.revokeObjectURL(picture);
  picture = URL.createObjectURL(file);
  waiting = true;
  say(`${name}: being explained …`);
  worker.postMessage({ask: "map", file});
}

function ask(target) {
  waiting = true;
  say(`${name}: looking for ${label(target)} …`);
  worker.postMessage({ask: "map", target});
}

const view = () => document.querySelector("input[name=view]:checked").value;

function loaded(uri) { return new Promise((done, failed) => { const image = new Image(); image.onload = () => done(image); image.onerror = failed; image.src = uri; }); }

/** The map at the classifier's size in colour; the browser enlarges it. */
function heat() {
  const {width, height} = shown.input, canvas = make("canvas", {width, height, class: "heat"});
  const pen = canvas.getContext("2d"), target = pen.createImageData(width, height);
  shown.map.forEach((v, i) => target.data.set([...facts.colours[Math.round(255 * Math.min(Math.max(v, 0), 1))], 255], 4 * i));
  pen.putImageData(target, 0, 0);
  return canvas;
}

/** The picture with its kept or its other pixels, the rest in the classifier's mean colour. */
async function masked(inside) {
  const size = drawnSize(), canvas = make("canvas", size), pen = canvas.getContext("2d");
  pen.fillStyle = "#fff";  // transparency is laid over white
  pen.fillRect(0, 0, size.width, size.height);
  pen.drawImage(await loaded(picture), 0, 0, size.width, size.height);
  const pixels = pen.getImageData(0, 0, size.width, size.height), hole = [0, 1, 2].map(c => Math.round(255 * facts.colour[c % facts.colour.length]));
  eachRow(shown.map, shown.input, size, (y, row) => row.forEach((v, x) => { if (kept(v, shown.average) !== inside) pixels.data.set(hole, 4 * (y * size.width + x)); }));
  pen.putImageData(pixels, 0, 0);
  return canvas;
}

function drawnSize() {
  const {width, height} = shown.size, scale = Math.min(LONGEST / Math.max(width, height), 1);
  return {width: Math.max(Math.round(width * scale), 1), height: Math.max(Math.round(height * scale), 1)};
}

function frame() {
  const [x0, y0, x1, y1] = shown.box, {width, height} = shown.size, node = make("div", {class: "box"});
  Object.assign(node.style, {left: `${100 * x0 / width}%`, top: `${100 * y0 / height}%`, width: `${100 * (x1 - x0) / width}%`, height: `${100 * (y1 - y0) / height}%`});
  return node;
}

async function layers() {
  const kind = view(), of = facts.needs_class ? ` for ${label(shown.asked)}` : "";
  const what = {heat: "the map over the picture", in: "the masked-in picture", out: "the masked-out picture", plain: "the picture"}[kind] + of;
  const found = kind === "in" || kind === "out" ? [await masked(kind === "in")] : [make("img", {src: picture, alt: ""})];
  if (kind === "heat") { found[0].className = "grey"; found.push(heat()); }
  return [what, found];
}

async function drawStage() {
  const now = shown, [what, found] = await layers();
  if (now !== shown) return;
  const stage = find("stage"), {width, height} = now.size;
  stage.style.aspectRatio = `${width} / ${height}`;
  stage.style.maxWidth = `min(100%, calc(75vh * ${width / height}))`;
  stage.setAttribute("role", "img");
  stage.setAttribute("aria-label", what);
  if (find("boxed").checked && now.box[2] > now.box[0]) found.push(frame());
  stage.replaceChildren(...found);
  find("heatbar").hidden = view() !== "heat";
  find("caption").textContent = `${name}, ${width} × ${height}: ${what}.`;
}

function rows(list, pairs) { list.replaceChildren(...pairs.flatMap(([term, text]) => [make("dt", {text: term}), make("dd", {text})])); }

function draw() {
  find("result").hidden = false;
  const listed = shown.top.some(([i]) => i === shown.asked) ? shown.top : [...shown.top, [shown.asked, shown.chance]];
  find("top").replaceChildren(...listed.map(([i, p]) => {
    const bar = make("i"), inside = [make("span", {text: label(i)}), make("b", {text: percent(p)}), bar];
    bar.style.width = `${100 * Math.min(Math.max(p, 0), 1)}%`;
    const node = facts.needs_class ? make("button", {type: "button"}, ...inside) : make("div", {}, ...inside);
    if (facts.needs_class) node.onclick = () => ask(i);
    if (facts.needs_class && i === shown.asked) node.setAttribute("aria-current", "true");
    return make("li", {}, node);
  }));
  const [inside, outside] = shown.masked;
  rows(find("parts"), [["class", label(shown.asked)], ["whole picture", percent(shown.chance)], ["masked-in", percent(inside)], ["masked-out", percent(outside)]]);
  const [x0, y0, x1, y1] = shown.box;
  rows(find("facts"), [["box", x1 > x0 ? `${x0}, ${y0}, ${x1}, ${y1} (x0, y0, x1, y1 in pixels of the picture)` : "none: the map is empty"], ["mean", percent(shown.average)], ["mask", "map ≥ its mean; the box is around its largest part"]]);
  drawStage();
}

function save(blob, suffix) {
  const link = make("a", {href: URL.createObjectURL(blob), download: `${name.replace(/\.[^.]*$/, "")}.${suffix}`});
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1e4);
}

async function png() {
  const size = drawnSize(), canvas = make("canvas", size), pen = canvas.getContext("2d"), [, found] = await layers();
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, size.width, size.height);
  for (const layer of found) {
    pen.filter = layer.className === "grey" ? "grayscale(1)" : "none";
    pen.globalAlpha = layer.className === "heat" ? find("strength").value / 100 : 1;
    pen.drawImage(layer instanceof Image ? await loaded(layer.src) : layer, 0, 0, size.width, size.height);
  }
  [pen.filter, pen.globalAlpha] = ["none", 1];
  if (find("boxed").checked && shown.box[2] > shown.box[0]) {
    const [x0, y0, x1, y1] = shown.box, scale = size.width / shown.size.width;
    [pen.strokeStyle, pen.lineWidth] = ["#00e5a0", 3];
    pen.strokeRect(x0 * scale, y0 * scale, (x1 - x0) * scale, (y1 - y0) * scale);
  }
  canvas.toBlob(blob => save(blob, `${view()}.png`), "image/png");
}

function chosen(text) {
  const wanted = text.trim().toLowerCase();
  if (/^\d+$/.test(wanted) && Number(wanted) < facts.labels.length) return Number(wanted);
  return facts.labels.findIndex(l => l.toLowerCase() === wanted);
}

async function begin() {
  const answer = await fetch("model.json").catch(() => null);
  if (!answer?.ok) return say("model.json is not beside this page: copy the whole folder that was exported.", true);
  facts = await answer.json();
  const pen = find("bar").getContext("2d");
  facts.colours.forEach((c, i) => { pen.fillStyle = `rgb(${c})`; pen.fillRect(i, 0, 1, 1); });
  for (const example of facts.examples) {
    const button = make("button", {type: "button", "aria-label": `Example: ${example.replace(/\..*/, "")}`}, make("img", {src: `examples/${example}`, alt: ""}));
    button.onclick = async () => take(new File([await (await fetch(`examples/${example}`)).blob()], example));
    find("examples").append(button);
  }
  find("classes")?.append(...facts.labels.map(text => make("option", {value: text})));
  const file = find("file"), drop = find("drop");
  file.onchange = () => { if (file.files.length) take(file.files[0]); file.value = ""; };
  addEventListener("dragover", event => { event.preventDefault(); drop.classList.add("over"); });
  addEventListener("dragleave", event => { if (!event.relatedTarget) drop.classList.remove("over"); });
  addEventListener("drop", event => { event.preventDefault(); drop.classList.remove("over"); if (event.dataTransfer.files.length) take(event.dataTransfer.files[0]); });
  addEventListener("paste", event => { if (event.clipboardData.files.length) take(event.clipboardData.files[0]); });
  find("views").onchange = find("boxed").onchange = () => { if (shown) drawStage(); };
  find("strength").oninput = event => document.documentElement.style.setProperty("--strength", event.target.value / 100);
  find("npy").onclick = () => worker.postMessage({ask: "npy"});
  find("png").onclick = png;
  const search = find("search");
  if (search) search.onchange = () => {
    const found = chosen(search.value);
    if (found < 0) return say(`${search.value}: not a class that this classifier knows; choose one of the list.`, true);
    ask(found);
  };
  document.documentElement.dataset.ready = "true";
}
say("Loading the networks …");
begin();

/* The numbers of the page: resizing, maps and boxes as the Python package computes them. No page and no network here. */

/** Weights of an antialiased bilinear resize from `from` to `to` samples: for each output its first input and weights. */
export function resampling(from, to) {
  const scale = from / to, reach = Math.max(scale, 1);
  return Array.from({length: to}, (_, i) => {
    const centre = scale * (i + 0.5);
    const first = Math.max(Math.trunc(centre - reach + 0.5), 0), end = Math.min(Math.trunc(centre + reach + 0.5), from);
    const weights = new Float64Array(end - first);
    let total = 0;
    for (let j = 0; j < weights.length; j++) total += weights[j] = Math.max(1 - Math.abs((j + first - centre + 0.5) / reach), 0);
    return {first, weights: weights.map(w => w / total)};
  });
}

/** A picture as planes (3,height,width) in [0,1], antialiased.
 *  `rows(y, count)` gives RGBA bytes of `count` rows from `y` on, so that a large photograph is never held as floats. */
export function resized(rows, from, to) {
  const [across, down] = [resampling(from.width, to.width), resampling(from.height, to.height)];
  const narrow = new Float32Array(3 * from.height * to.width), band = Math.max(Math.floor(1e6 / from.width), 1);
  for (let top = 0; top < from.height; top += band) {
    const count = Math.min(band, from.height - top), bytes = rows(top, count);
    for (let y = 0; y < count; y++)
      for (let x = 0; x < to.width; x++) {
        const {first, weights} = across[x];
        let [r, g, b] = [0, 0, 0];
        for (let j = 0, at = 4 * (y * from.width + first); j < weights.length; j++, at += 4) {
          r += weights[j] * bytes[at]; g += weights[j] * bytes[at + 1]; b += weights[j] * bytes[at + 2];
        }
        const place = (top + y) * to.width + x, plane = from.height * to.width;
        narrow[place] = r / 255; narrow[place + plane] = g / 255; narrow[place + 2 * plane] = b / 255;
      }
  }
  const planes = new Float32Array(3 * to.height * to.width);
  for (let c = 0; c < 3; c++)
    for (let y = 0; y < to.height; y++) {
      const {first, weights} = down[y];
      for (let x = 0; x < to.width; x++) {
        let sum = 0;
        for (let j = 0; j < weights.length; j++) sum += weights[j] * narrow[(c * from.height + first + j) * to.width + x];
        planes[(c * to.height + y) * to.width + x] = Math.min(Math.max(sum, 0), 1);
      }
    }
  return planes;
}

/** One plane of luma (ITU-R BT.601) for a classifier of grey pictures; pixels that are grey keep their value. */
export function grey(planes) {
  const n = planes.length / 3;
  return Float32Array.from({length: n}, (_, i) => {
    const [r, g, b] = [planes[i], planes[i + n], planes[i + 2 * n]];
    return r === g && r === b ? r : 0.299 * r + 0.587 * g + 0.114 * b;
  });
}

/** Rows of a map that is enlarged or shrunk bilinearly, corners not aligned: calls `take(y, row)` for each of them. */
export function eachRow(map, from, to, take) {
  const places = (n, m) => Array.from({length: m}, (_, i) => {
    const at = Math.max((i + 0.5) * (n / m) - 0.5, 0), low = Math.min(Math.floor(at), n - 1);
    return [low, Math.min(low + 1, n - 1), at - low];
  });
  const across = places(from.width, to.width), row = new Float32Array(to.width);
  places(from.height, to.height).forEach(([above, below, v], y) => {
    for (let x = 0; x < to.width; x++) {
      const [left, right, u] = across[x], a = above * from.width, b = below * from.width;
      row[x] = (1 - v) * ((1 - u) * map[a + left] + u * map[a + right]) + v * ((1 - u) * map[b + left] + u * map[b + right]);
    }
    take(y, row);
  });
}

/** The mean of a map at `to`, which is also the threshold of its mask. */
export function mean(map, from, to) {
  let sum = 0;
  eachRow(map, from, to, (_, row) => { for (const value of row) sum += value; });
  return sum / (to.width * to.height);
}

/** Is a value in the mask of a map of this mean? The slack is for a constant map whose mean rounds up. */
export const kept = (value, average) => value >= average * (1 - 1e-9) && value > 0;

/** The box (x0,y0,x1,y1), half open, around the largest 4-connected part of `map >= mean`, in pixels of `to`.
 *  Only runs of pixels are kept, each with its part: union-find, where the part that began first wins a tie. */
export function box(map, from, to, average) {
  const parts = [];  // [parent, pixels, x0, y0, x1, y1]
  const root = i => { while (parts[i][0] !== i) i = parts[i][0] = parts[parts[i][0]][0]; return i; };
  let above = [];
  eachRow(map, from, to, (y, row) => {
    const here = [];
    for (let x = 0, up = 0; x < to.width; x++) {
      if (!kept(row[x], average)) continue;
      const start = x;
      while (x < to.width && kept(row[x], average)) x++;
      let part = parts.push([parts.length, x - start, start, y, x, y + 1]) - 1;
      while (up < above.length && above[up][1] <= start) up++;
      for (let i = up; i < above.length && above[i][0] < x; i++) {
        const [one, other] = [root(part), root(above[i][2])].sort((a, b) => a - b);
        if (one !== other) {
          const [a, b] = [parts[one], parts[other]];
          b[0] = one; a[1] += b[1];
          a[2] = Math.min(a[2], b[2]); a[3] = Math.min(a[3], b[3]); a[4] = Math.max(a[4], b[4]); a[5] = Math.max(a[5], b[5]);
        }
        part = one;
      }
      here.push([start, x, part]);
    }
    above = here;
  });
  let best = null;
  parts.forEach((part, i) => { if (part[0] === i && (best === null || part[1] > best[1])) best = part; });
  return best === null ? [0, 0, 0, 0] : best.slice(2);
}

/** Probabilities of logits by the classifier's link. */
export function probabilities(logits, activation) {
  if (activation === "none") return Array.from(logits);
  if (activation === "sigmoid") return Array.from(logits, z => 1 / (1 + Math.exp(-z)));
  const top = logits.reduce((a, b) => Math.max(a, b)), raised = Array.from(logits, z => Math.exp(z - top));
  const total = raised.reduce((a, b) => a + b);
  return raised.map(v => v / total);
}

/** A map at `to` as the bytes of a NumPy file: float32, (height,width). */
export function npy(map, from, to) {
  const text = `{'descr': '<f4', 'fortran_order': False, 'shape': (${to.height}, ${to.width}), }`;
  const head = text.padEnd(118 - 1) + "\n";  // with 10 bytes before it a multiple of 64
  const bytes = new Uint8Array(10 + head.length + 4 * to.width * to.height);
  bytes.set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, head.length & 255, head.length >> 8]);
  bytes.set(new TextEncoder().encode(head), 10);
  const values = new DataView(bytes.buffer, 10 + head.length);
  eachRow(map, from, to, (y, row) => row.forEach((v, x) => values.setFloat32(4 * (y * to.width + x), v, true)));
  return bytes;
}

// The picture: points in three dimensions stamped into the pixels of a canvas, in a box with titled axes.
// That needs no GPU, and in software rendering was faster than WebGL and than drawing an image for each point.

const LEVELS = 24; // of depth: nearer points are larger, more opaque, and drawn later; level 0 holds the dimmed
const DEEP = 0.8; // how far before and behind the middle the levels reach; a corner of the box may be at 1
const FAR = 6; // distance of the eye, in half diagonals of the box
const REACH = 9; // how near the pointer a point is meant, in pixels
const DOWN = [-0.5, 1]; // axes are written below the box, or left of it

const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
const dot = (a, b) => a[0] * b[0] + a[1] * b[1];
const along = ([a, b], t) => [a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1])];

function decoded(text, kind) {
  return new kind(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
}

// The box of the data: its middle, half its size along each axis, and the scale that makes half its diagonal 1.
function box(xyz) {
  if (!xyz.length) return { middle: [0, 0, 0], half: [1, 1, 1], unit: 1 };
  const low = [Infinity, Infinity, Infinity];
  const high = low.map((x) => -x);
  for (let i = 0; i < xyz.length; i++) {
    low[i % 3] = Math.min(low[i % 3], xyz[i]);
    high[i % 3] = Math.max(high[i % 3], xyz[i]);
  }
  const half = low.map((x, axis) => (high[axis] - x) / 2);
  return { middle: low.map((x, axis) => x + half[axis]), half, unit: 1 / (Math.hypot(...half) || 1) };
}

// The four edges of the box along an axis, each as its two ends.
function edges({ middle, half }, axis) {
  const corner = (signs) => middle.map((m, i) => m + signs[i] * half[i]);
  return [[-1, -1], [-1, 1], [1, -1], [1, 1]].map((pair) => [-1, 1].map((end) => corner(pair.toSpliced(axis, 0, end))));
}

// The pixels of one mark in an image so wide: where they are from its middle, how much of each it covers, how much of that is its edge.
function stamp(query, radius, wide) {
  const reach = Math.ceil(radius + 1);
  const g = new OffscreenCanvas(2 * reach + 1, 2 * reach + 1).getContext("2d");
  g.translate(reach + 0.5, reach + 0.5);
  g.fillStyle = "#f00";
  g.strokeStyle = "#0f0";
  g.lineWidth = radius / 5;
  g.beginPath();
  if (query) {
    for (const [x, y] of [[0, -1], [0.92, 0.7], [-0.92, 0.7]]) g.lineTo(radius * x, radius * y);
    g.closePath();
  } else g.arc(0, 0, radius, 0, 7);
  g.fill();
  if (query) g.stroke();
  const { data, width } = g.getImageData(0, 0, 2 * reach + 1, 2 * reach + 1);
  const covered = Array.from({ length: data.length / 4 }, (_, i) => i).filter((i) => data[4 * i + 3]);
  return {
    reach,
    at: Int32Array.from(covered, (i) => 4 * ((Math.floor(i / width) - reach) * wide + (i % width) - reach)),
    cover: Float32Array.from(covered, (i) => data[4 * i + 3] / 255),
    edge: Float32Array.from(covered, (i) => data[4 * i + 1] / 255),
  };
}

// About four round numbers from low to high, by the step that suits the longest axis: [number, as text].
function ticks(low, high, longest) {
  const power = 10 ** Math.floor(Math.log10(longest / 4));
  const step = power * [1, 2, 5, 10].find((m) => m * power >= longest / 4);
  const digits = Math.max(0, -Math.floor(Math.log10(step)));
  const found = [];
  for (let i = Math.ceil(low / step); i * step <= high; i++) found.push([i * step, (i * step).toFixed(digits).replace("-", "−")]);
  return found;
}

class Scene {
  constructor(canvas) {
    this.canvas = canvas;
    this.g = canvas.getContext("2d", { willReadFrequently: true });
  }

  load(data) {
    this.data = data;
    this.xyz = decoded(data.xyz, Float32Array);
    this.group = decoded(data.group, Int32Array);
    this.n = this.group.length;
    this.box = box(this.xyz);
    this.colours = data.groups.map(([, colour]) => rgb(colour));
    this.at = new Float32Array(3 * this.n); // x and y on the canvas, and depth, as last drawn
    this.level = new Uint8Array(this.n);
    this.sharp = null; // the marks are to be cut anew
  }

  // Draws what is seen at { yaw, pitch, zoom }; groups but `only` are dimmed, none where it is −1.
  draw(view, only) {
    const { canvas, g } = this;
    if (!this.fit()) return;
    const style = getComputedStyle(canvas);
    g.fillStyle = style.getPropertyValue("--st-background-color") || "Canvas";
    g.fillRect(0, 0, canvas.width, canvas.height);
    this.aim(view);
    this.rule();
    const image = g.getImageData(0, 0, canvas.width, canvas.height);
    this.mark(image.data, this.sorted(only));
    g.putImageData(image, 0, 0);
    this.write(style.fontFamily);
  }

  // Gives the canvas a pixel for each of the screen's; false where it has no size yet.
  fit() {
    const { canvas } = this;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight].map((x) => Math.round(x * devicePixelRatio));
    if (canvas.width !== width || canvas.height !== height || this.sharp !== devicePixelRatio) {
      Object.assign(canvas, { width, height });
      this.sharp = devicePixelRatio;
      const radius = (this.n > 10000 ? 2.1 : 2.8) * this.sharp;
      const sizes = Array.from({ length: LEVELS + 1 }, (_, level) => radius * (level ? 0.7 + (0.6 * level) / LEVELS : 1));
      this.stamps = [false, true].map((query) => sizes.map((size) => stamp(query, query ? 1.9 * size : size, width)));
    }
    return width && height;
  }

  // Sets `seen`: (x, y, z, out, i) puts the place on the canvas and the depth of a point into out[i…].
  aim({ yaw, pitch, zoom }) {
    const { width, height } = this.canvas;
    const { middle, unit } = this.box;
    const [cy, sy, cp, sp] = [Math.cos(yaw), Math.sin(yaw), Math.cos(pitch), Math.sin(pitch)];
    const size = Math.min(width / 2.2, height / 1.9) * zoom;
    this.seen = (x, y, z, out, i) => {
      const [a, b, c] = [(x - middle[0]) * unit, (y - middle[1]) * unit, (z - middle[2]) * unit];
      const near = cy * c - sy * a;
      const depth = sp * b + cp * near;
      const scale = (size * FAR) / (FAR - depth);
      out[i] = width / 2 + (cy * a + sy * c) * scale;
      out[i + 1] = height / 2 - (cp * b - sp * near) * scale;
      out[i + 2] = depth;
      return out;
    };
  }

  // Places the points; their numbers from the farthest level of depth to the nearest.
  sorted(only) {
    const { at, level, n } = this;
    const starts = new Uint32Array(LEVELS + 2);
    for (let i = 0; i < n; i++) {
      this.seen(this.xyz[3 * i], this.xyz[3 * i + 1], this.xyz[3 * i + 2], at, 3 * i);
      const step = Math.floor(((at[3 * i + 2] + DEEP) / (2 * DEEP)) * LEVELS);
      level[i] = only < 0 || this.group[i] === only ? 1 + Math.min(Math.max(step, 0), LEVELS - 1) : 0;
      starts[level[i] + 1]++;
    }
    for (let j = 1; j < starts.length; j++) starts[j] += starts[j - 1];
    const order = new Uint32Array(n);
    for (let i = 0; i < n; i++) order[starts[level[i]]++] = i;
    return order;
  }

  // Blends the marks into the pixels, in this order. A mark cut by the border is left out.
  mark(pixels, order) {
    const { width, height } = this.canvas;
    const ink = rgb(this.data.ink);
    for (const i of order) {
      const level = this.level[i];
      const { reach, at, cover, edge } = this.stamps[i < this.data.keys ? 0 : 1][level];
      const [x, y] = [Math.round(this.at[3 * i]), Math.round(this.at[3 * i + 1])];
      if (x < reach || y < reach || x + reach >= width || y + reach >= height) continue;
      const opaque = level ? 0.4 + (0.5 * level) / LEVELS : 0.07;
      const [r, g, b] = this.colours[this.group[i]];
      const middle = 4 * (y * width + x);
      for (let j = 0; j < at.length; j++) {
        const [o, k, e] = [middle + at[j], opaque * cover[j], edge[j]];
        pixels[o] += (r + (ink[0] - r) * e - pixels[o]) * k;
        pixels[o + 1] += (g + (ink[1] - g) * e - pixels[o + 1]) * k;
        pixels[o + 2] += (b + (ink[2] - b) * e - pixels[o + 2]) * k;
      }
    }
  }

  // The edges of the box along an axis, as seen.
  lines(axis) {
    return edges(this.box, axis).map((ends) => ends.map((end) => this.seen(...end, [], 0)));
  }

  rule() {
    const { g } = this;
    g.strokeStyle = this.data.ink;
    g.globalAlpha = 0.22;
    g.lineWidth = this.sharp;
    g.beginPath();
    for (const [a, b] of [0, 1, 2].flatMap((axis) => this.lines(axis))) {
      g.moveTo(a[0], a[1]);
      g.lineTo(b[0], b[1]);
    }
    g.stroke();
    g.globalAlpha = 1;
  }

  // Each axis's title and numbers, outside the box at the lowest of its edges; an axis without extent has none.
  write(font) {
    const { half } = this.box;
    this.g.fillStyle = this.data.ink;
    this.g.textBaseline = "middle";
    for (const axis of [0, 1, 2].filter((a) => half[a])) {
      const lines = this.lines(axis);
      const [[a, b]] = lines;
      const long = Math.hypot(b[0] - a[0], b[1] - a[1]) || 1;
      let out = [(b[1] - a[1]) / long, (a[0] - b[0]) / long];
      if (dot(out, DOWN) < 0) out = out.map((o) => -o);
      const low = (line) => dot(along(line, 0.5), out);
      this.label(axis, lines.reduce((best, line) => (low(line) > low(best) ? line : best)), out, long, font);
    }
  }

  label(axis, line, out, long, font) {
    const { g, sharp, box: { middle, half } } = this;
    const level = Math.abs(out[0]) < 0.5;
    g.textAlign = level ? "center" : out[0] > 0 ? "left" : "right";
    const put = (text, [x, y], far) => g.fillText(text, x + out[0] * far * sharp, y + out[1] * far * sharp);
    const from = middle[axis] - half[axis];
    g.font = `${11 * sharp}px ${font}`;
    g.globalAlpha = 0.7;
    for (const [value, text] of long > 60 * sharp ? ticks(from, middle[axis] + half[axis], 2 * Math.max(...half)) : []) {
      put(text, along(line, (value - from) / (2 * half[axis])), 11);
    }
    g.font = `600 ${12 * sharp}px ${font}`;
    g.globalAlpha = 0.9;
    if (level) put(this.data.titles[axis], along(line, 0.5), 29);
    else {
      const [x, y] = line[line[0][1] < line[1][1] ? 0 : 1]; // above a steep edge: beside it, a narrow canvas would cut it
      g.textAlign = "center";
      g.fillText(this.data.titles[axis], x, y - 14 * sharp);
    }
    g.globalAlpha = 1;
  }

  // The point meant at (x, y) of the screen: the nearest, of those right under it the foremost; −1 for none.
  nearest(x, y) {
    const { at, sharp } = this;
    let [found, least, front] = [-1, REACH * sharp, -Infinity];
    for (let i = 0; i < this.n; i++) {
      const far = Math.max(Math.hypot(at[3 * i] - x * sharp, at[3 * i + 1] - y * sharp), 3 * sharp);
      if (this.level[i] && (far < least || (far === least && at[3 * i + 2] > front))) [found, least, front] = [i, far, at[3 * i + 2]];
    }
    return found;
  }

  // Where point i is on the screen.
  place(i) {
    return [this.at[3 * i] / this.sharp, this.at[3 * i + 1] / this.sharp];
  }
}

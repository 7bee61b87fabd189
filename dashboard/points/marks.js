// Marks stamped into the pixels of a canvas: what a picture in three dimensions and one in two have in common.
// That needs no GPU, and in software rendering was faster than WebGL and than drawing an image for each point.

const LEVELS = 24; // of depth: nearer points are larger, more opaque, and drawn later; level 0 holds the dimmed
const REACH = 9; // how near the pointer a point is meant, in pixels
const MOST_NAMED = 16; // groups that are named in the picture; more would hide it

const short = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);
const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const decoded = (text, kind) => new kind(bytes(text).buffer);

// Numbers that were deflated with all their first bytes before all their second ones.
async function inflated(text, kind) {
  const stream = new Blob([bytes(text)]).stream().pipeThrough(new DecompressionStream("deflate"));
  const planes = new Uint8Array(await new Response(stream).arrayBuffer());
  const size = kind.BYTES_PER_ELEMENT;
  const n = planes.length / size;
  return new kind(Uint8Array.from(planes, (_, i) => planes[(i % size) * n + Math.floor(i / size)]).buffer);
}

// What is drawn: keys, then queries.
class Points {
  constructor(data) {
    const grid = decoded(data.xyz, Uint16Array);
    this.xyz = Float32Array.from(grid, (step, i) => data.low[i % 3] + (step / 65535) * (data.high[i % 3] - data.low[i % 3]));
    this.group = decoded(data.group, Uint16Array);
    this.n = this.group.length;
    this.keys = data.keys;
    this.ink = rgb(data.ink);
    this.colours = data.groups.map(([, colour]) => rgb(colour));
    Object.assign(this, { names: data.groups.map(([label]) => label), titles: data.titles, low: data.low, high: data.high });
    const apart = data.low.some((low, axis) => low < data.high[axis]); // a name would hide points at one place
    this.named = apart && data.groups.length <= MOST_NAMED ? this.middles(data.others) : [];
  }

  // The middle of each group's keys, or of its queries where it has no key: [its name, its colour, x, y, z].
  middles(others) {
    const sums = this.names.map(() => [0, 1].map(() => [0, 0, 0, 0]));
    for (let i = 0; i < this.n; i++) {
      const sum = sums[this.group[i]][i < this.keys ? 0 : 1];
      sum[0]++;
      for (let axis = 0; axis < 3; axis++) sum[axis + 1] += this.xyz[3 * i + axis];
    }
    return sums.flatMap((sides, group) => {
      const sum = sides.find(([n]) => n);
      return sum && this.names[group] !== others ? [{ group, at: sum.slice(1).map((total) => total / sum[0]) }] : [];
    });
  }
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
  if (!longest) return [];
  const power = 10 ** Math.floor(Math.log10(longest / 4));
  const step = power * [1, 2, 5, 10].find((m) => m * power >= longest / 4);
  const digits = Math.max(0, -Math.floor(Math.log10(step)));
  const found = [];
  for (let i = Math.ceil(low / step); i * step <= high; i++) found.push([i * step, (i * step).toFixed(digits).replace("-", "−")]);
  return found;
}

// Points in one or more frames { left, top, right, bottom, at: x and y on the canvas, and depth, of each point }.
// What is a space and what a plane give: layout() of the frames, aim(view), level(i, frame), rule() and write(font).
class Picture {
  constructor(canvas) {
    this.canvas = canvas;
    this.g = canvas.getContext("2d", { willReadFrequently: true });
  }

  load(points) {
    this.points = points;
    this.levels = new Uint8Array(points.n);
    this.sharp = null; // the marks are to be cut anew
  }

  // Draws what is seen at a view; points that are not lit are dimmed, none where lit is null.
  draw(view, lit) {
    const { canvas, g } = this;
    if (!this.fit()) return;
    const style = getComputedStyle(canvas);
    this.ground = style.getPropertyValue("--st-background-color") || "Canvas";
    g.fillStyle = this.ground;
    g.fillRect(0, 0, canvas.width, canvas.height);
    this.lit = lit;
    this.aim(view);
    this.rule();
    const image = g.getImageData(0, 0, canvas.width, canvas.height);
    for (const frame of this.frames) this.mark(image.data, frame, this.sorted(frame));
    g.putImageData(image, 0, 0);
    for (const frame of this.frames) this.name(frame, style.fontFamily);
    this.write(style.fontFamily);
  }

  // Gives the canvas a pixel for each of the screen's; false where it has no size yet.
  fit() {
    const { canvas } = this;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight].map((x) => Math.round(x * devicePixelRatio));
    if (canvas.width !== width || canvas.height !== height || this.sharp !== devicePixelRatio) {
      Object.assign(canvas, { width, height });
      this.sharp = devicePixelRatio;
      const radius = (this.points.n > 10000 ? 2.1 : 2.8) * this.sharp;
      const sizes = Array.from({ length: LEVELS + 1 }, (_, level) => radius * (level ? 0.7 + (0.6 * level) / LEVELS : 1));
      this.stamps = [false, true].map((query) => sizes.map((size) => stamp(query, query ? 1.9 * size : size, width)));
      this.frames = this.layout().map((frame) => ({ ...frame, at: new Float32Array(3 * this.points.n) }));
    }
    return width && height;
  }

  // The numbers of the points from the farthest level of depth to the nearest.
  sorted(frame) {
    const { levels, lit, points: { n } } = this;
    const starts = new Uint32Array(LEVELS + 2);
    for (let i = 0; i < n; i++) {
      levels[i] = lit && !lit[i] ? 0 : this.level(i, frame);
      starts[levels[i] + 1]++;
    }
    for (let j = 1; j < starts.length; j++) starts[j] += starts[j - 1];
    const order = new Uint32Array(n);
    for (let i = 0; i < n; i++) order[starts[levels[i]]++] = i;
    return order;
  }

  // Blends the marks into the pixels, in this order. A mark cut by the border of its frame is left out.
  mark(pixels, frame, order) {
    const { width } = this.canvas;
    const { keys, group, colours, ink } = this.points;
    const { at: places, left, top, right, bottom } = frame;
    for (const i of order) {
      const level = this.levels[i];
      const { reach, at, cover, edge } = this.stamps[i < keys ? 0 : 1][level];
      const [x, y] = [Math.round(places[3 * i]), Math.round(places[3 * i + 1])];
      if (x - reach < left || y - reach < top || x + reach >= right || y + reach >= bottom) continue;
      const opaque = level ? 0.4 + (0.5 * level) / LEVELS : 0.07;
      const [r, g, b] = colours[group[i]];
      const middle = 4 * (y * width + x);
      for (let j = 0; j < at.length; j++) {
        const [o, k, e] = [middle + at[j], opaque * cover[j], edge[j]];
        pixels[o] += (r + (ink[0] - r) * e - pixels[o]) * k;
        pixels[o + 1] += (g + (ink[1] - g) * e - pixels[o + 1]) * k;
        pixels[o + 2] += (b + (ink[2] - b) * e - pixels[o + 2]) * k;
      }
    }
  }

  // Writes each group's name at its middle, where no other name stands yet: colours alone do not tell nine apart.
  name(frame, font) {
    const { g, sharp, points } = this;
    const taken = [];
    g.font = `600 ${12 * sharp}px ${font}`;
    g.textAlign = "center";
    g.textBaseline = "middle";
    g.lineJoin = "round";
    g.lineWidth = 3.5 * sharp;
    for (const { group, at } of points.named) {
      const [x, y] = this.placed(at, group, frame);
      const text = short(points.names[group], 18);
      const half = g.measureText(text).width / 2 + 2 * sharp;
      const free = [0, -14, 14, -28, 28].map((step) => y + step * sharp).find((line) =>
        taken.every(([tx, ty, th]) => Math.abs(x - tx) > half + th || Math.abs(line - ty) > 13 * sharp));
      if (free === undefined || x - half < frame.left || x + half > frame.right || free < frame.top + 8 * sharp || free > frame.bottom - 8 * sharp) continue;
      taken.push([x, free, half]);
      g.strokeStyle = this.ground;
      g.strokeText(text, x, free);
      g.fillStyle = `rgb(${points.ink})`;
      g.fillText(text, x, free);
    }
  }

  frameAt(x, y) {
    const { sharp } = this;
    return this.frames?.find((f) => x * sharp >= f.left && x * sharp < f.right && y * sharp >= f.top && y * sharp < f.bottom);
  }

  // The point meant at (x, y) of the screen: the nearest, of those right under it the foremost; −1 for none.
  nearest(x, y) {
    const { sharp, levels, points: { n } } = this;
    const frame = this.frameAt(x, y);
    let [found, least, front] = [-1, REACH * sharp, -Infinity];
    for (let i = 0; frame && i < n; i++) {
      const far = Math.max(Math.hypot(frame.at[3 * i] - x * sharp, frame.at[3 * i + 1] - y * sharp), 3 * sharp);
      if (levels[i] && (far < least || (far === least && frame.at[3 * i + 2] > front))) [found, least, front] = [i, far, frame.at[3 * i + 2]];
    }
    return found;
  }

  // Which points lie within a path [[x, y], …] of the screen, in the frame nearest to where it begins; null for none.
  within(path) {
    const { sharp, points: { n } } = this;
    const off = ({ left, right }) => Math.abs((left + right) / 2 - path[0][0] * sharp);
    const frame = this.frames.reduce((best, other) => (off(other) < off(best) ? other : best));
    const found = new Uint8Array(n);
    const corners = path.map(([x, y]) => [x * sharp, y * sharp]);
    for (let i = 0; i < n; i++) {
      const [x, y] = [frame.at[3 * i], frame.at[3 * i + 1]];
      if (x < frame.left || x > frame.right || y < frame.top || y > frame.bottom) continue;
      for (let j = 0, k = corners.length - 1; j < corners.length; k = j++) {
        const [[ax, ay], [bx, by]] = [corners[j], corners[k]];
        if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) found[i] ^= 1;
      }
    }
    return found.includes(1) ? found : null;
  }

  // Where point i is on the screen, in the frame at (x, y).
  place(i, x, y) {
    const { at } = this.frameAt(x, y);
    return [at[3 * i] / this.sharp, at[3 * i + 1] / this.sharp];
  }
}

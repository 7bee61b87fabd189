// The picture in three dimensions: points in a box with titled axes, seen by an eye that a drag turns about it.

const DEEP = 0.8; // how far before and behind the middle the levels reach; a corner of the box may be at 1
const FAR = 6; // distance of the eye, in half diagonals of the box
const DOWN = [-0.5, 1]; // axes are written below the box, or left of it

const dot = (a, b) => a[0] * b[0] + a[1] * b[1];
const along = ([a, b], t) => [a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1])];

// The four edges of the box along an axis, each as its two ends.
function edges({ middle, half }, axis) {
  const corner = (signs) => middle.map((m, i) => m + signs[i] * half[i]);
  return [[-1, -1], [-1, 1], [1, -1], [1, 1]].map((pair) => [-1, 1].map((end) => corner(pair.toSpliced(axis, 0, end))));
}

class Space extends Picture {
  static START = { yaw: -0.6, pitch: 0.3, zoom: 1 };
  static ZOOM = [0.4, 12];
  static MOVE = "Turn";

  // The box of the data: its middle, half its size along each axis, and the scale that makes half its diagonal 1.
  load(points) {
    super.load(points);
    const half = points.low.map((low, axis) => (points.high[axis] - low) / 2 || (points.n ? 0 : 1));
    this.box = { middle: points.low.map((low, axis) => low + half[axis]), half, unit: 1 / (Math.hypot(...half) || 1) };
  }

  layout() {
    return [{ left: 0, top: 0, right: this.canvas.width, bottom: this.canvas.height }];
  }

  move(view, dx, dy) {
    const pitch = Math.min(Math.max(view.pitch + 0.008 * dy, -Math.PI / 2), Math.PI / 2);
    return { ...view, yaw: view.yaw + 0.008 * dx, pitch };
  }

  zoom(view, factor) {
    return { ...view, zoom: Math.min(Math.max(view.zoom * factor, Space.ZOOM[0]), Space.ZOOM[1]) };
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
    const { xyz, n } = this.points;
    for (let i = 0; i < n; i++) this.seen(xyz[3 * i], xyz[3 * i + 1], xyz[3 * i + 2], this.frames[0].at, 3 * i);
  }

  level(i, { at }) {
    const step = Math.floor(((at[3 * i + 2] + DEEP) / (2 * DEEP)) * LEVELS);
    return 1 + Math.min(Math.max(step, 0), LEVELS - 1);
  }

  placed(at) {
    return this.seen(...at, [], 0);
  }

  // The edges of the box along an axis, as seen.
  lines(axis) {
    return edges(this.box, axis).map((ends) => ends.map((end) => this.seen(...end, [], 0)));
  }

  rule() {
    const { g } = this;
    g.strokeStyle = `rgb(${this.points.ink})`;
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
    this.g.fillStyle = `rgb(${this.points.ink})`;
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
    if (level) put(this.points.titles[axis], along(line, 0.5), 29);
    else {
      const [x, y] = line[line[0][1] < line[1][1] ? 0 : 1]; // above a steep edge: beside it, a narrow canvas would cut it
      g.textAlign = "center";
      g.fillText(this.points.titles[axis], x, y - 14 * sharp);
    }
    g.globalAlpha = 1;
  }
}

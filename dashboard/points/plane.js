// The picture in two dimensions: two linked frames, x–y and y–z; of points in a plane one, of points on a line a strip for each group.

const MARGIN = { left: 46, top: 10, right: 12, bottom: 42 }; // of a frame, for its numbers and titles
const FLAT = 13; // the level of every point that is not dimmed

class Plane extends Picture {
  static START = { zoom: 1, x: 0, y: 0 };
  static ZOOM = [1, 40];
  static MOVE = "Move";

  layout() {
    const { width, height } = this.canvas;
    const { low, high } = this.points;
    const flat = (axis) => low[axis] === high[axis];
    const pairs = !flat(2) ? [[0, 1], [1, 2]] : [[0, flat(1) ? null : 1]];
    const m = Object.fromEntries(Object.entries(MARGIN).map(([side, far]) => [side, far * this.sharp]));
    return pairs.map(([a, b], i) => ({
      axes: [a, b],
      left: (i * width) / pairs.length + (b === null ? 2 * m.left : m.left),
      right: ((i + 1) * width) / pairs.length - m.right,
      top: m.top,
      bottom: height - m.bottom,
    }));
  }

  move(view, dx, dy) {
    const { left, right, top, bottom } = this.frames[0];
    const wide = 1 - 1 / view.zoom; // as far as there is anything to see
    const within = (x) => Math.min(Math.max(x, -wide / 2), wide / 2);
    const [x, y] = [(dx * this.sharp) / ((right - left) * view.zoom), (dy * this.sharp) / ((bottom - top) * view.zoom)];
    return { ...view, x: within(view.x + x), y: within(view.y + y) };
  }

  zoom(view, factor) {
    return this.move({ ...view, zoom: Math.min(Math.max(view.zoom * factor, Plane.ZOOM[0]), Plane.ZOOM[1]) }, 0, 0);
  }

  // The part of an axis that is seen: [low, high].
  span(axis, view, shift) {
    const { low, high, names } = this.points;
    const [from, to] = axis === null ? [-0.5, names.length - 0.5] : [low[axis], high[axis]];
    const room = axis === null ? 0 : 0.04 * (to - from) || 1;
    const [middle, half] = [(from + to) / 2, (to - from) / 2 + room];
    return [-1, 1].map((end) => middle - 2 * half * shift + (end * half) / view.zoom);
  }

  aim(view) {
    const { xyz, group, n } = this.points;
    for (const frame of this.frames) {
      const [a, b] = frame.axes;
      frame.spans = [this.span(a, view, view.x), this.span(b, view, -view.y)];
      const [[x0, x1], [y0, y1]] = frame.spans;
      const [sx, sy] = [(frame.right - frame.left) / (x1 - x0), (frame.bottom - frame.top) / (y1 - y0)];
      for (let i = 0; i < n; i++) {
        frame.at[3 * i] = frame.left + (xyz[3 * i + a] - x0) * sx;
        frame.at[3 * i + 1] = frame.bottom - ((b === null ? group[i] : xyz[3 * i + b]) - y0) * sy;
      }
    }
  }

  level() {
    return FLAT;
  }

  placed(at, group, frame) {
    const [a, b] = frame.axes;
    const share = (value, [low, high]) => (value - low) / (high - low);
    const y = share(b === null ? group : at[b], frame.spans[1]);
    return [frame.left + share(at[a], frame.spans[0]) * (frame.right - frame.left), frame.bottom - y * (frame.bottom - frame.top)];
  }

  // Strips are named beside them: in the middle a name would hide a group that is one point.
  name(frame, font) {
    if (frame.axes[1] !== null) return super.name(frame, font);
    const { g, sharp, points } = this;
    g.font = `600 ${12 * sharp}px ${font}`;
    g.fillStyle = `rgb(${points.ink})`;
    Object.assign(g, { textAlign: "right", textBaseline: "middle" });
    for (const { group, at } of points.named) {
      const [, y] = this.placed(at, group, frame);
      if (y > frame.top && y < frame.bottom) g.fillText(short(points.names[group], 11), frame.left - 6 * sharp, y);
    }
  }

  rule() {
    const { g } = this;
    g.strokeStyle = `rgb(${this.points.ink})`;
    g.lineWidth = this.sharp;
    for (const { left, top, right, bottom } of this.frames) {
      g.globalAlpha = 0.22;
      g.strokeRect(left, top, right - left, bottom - top);
    }
    g.globalAlpha = 1;
  }

  // Numbers and titles below and left of each frame; the strips have the names of their groups.
  write(font) {
    const { g, sharp, points } = this;
    g.fillStyle = `rgb(${points.ink})`;
    g.textBaseline = "middle";
    for (const { axes: [a, b], spans, left, top, right, bottom } of this.frames) {
      g.font = `${11 * sharp}px ${font}`;
      g.globalAlpha = 0.75;
      const put = ([low, high], line) => ticks(low, high, high - low).forEach(([value, text]) => line((value - low) / (high - low), text));
      g.textAlign = "center";
      put(spans[0], (t, text) => g.fillText(text, left + t * (right - left), bottom + 11 * sharp));
      g.textAlign = "right";
      if (b !== null) put(spans[1], (t, text) => g.fillText(text, left - 6 * sharp, bottom - t * (bottom - top)));
      g.font = `600 ${12 * sharp}px ${font}`;
      g.globalAlpha = 0.9;
      g.textAlign = "center";
      g.fillText(points.titles[a], (left + right) / 2, bottom + 29 * sharp);
      if (b === null) continue;
      g.save();
      g.translate(left - 36 * sharp, (top + bottom) / 2);
      g.rotate(-Math.PI / 2);
      g.fillText(points.titles[b], 0, 0);
      g.restore();
    }
    g.globalAlpha = 1;
  }
}

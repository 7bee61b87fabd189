// What a person does with a picture: turning, zooming, pointing, choosing by a rectangle, a lasso or the legend.
// Whatever comes from data is shown with textContent or fillText, never as HTML.

const PICTURES = { "2d": Plane, "3d": Space };
const RECTANGLE = "Rectangle";
const LASSO = "Lasso";
const STEP = 12; // of an arrow key, in pixels of a drag
const MOVES = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] };
const ZOOMS = { "+": 1.15, "=": 1.15, "-": 1 / 1.15 };
const CLICK = 4; // a drag that is shorter chooses nothing
const plots = new WeakMap(); // by the element they are drawn in: it stays while its data change

export default function ({ parentElement, data, setStateValue }) {
  if (!plots.has(parentElement)) plots.set(parentElement, new Plot(parentElement));
  const plot = plots.get(parentElement);
  const shown = ++plot.shown;
  plot.show(data, setStateValue);
  return () => {
    if (plot.shown !== shown) return; // shown again since: this is the late clean-up of an earlier time
    plot.end();
    plots.delete(parentElement);
  };
}

function element(name, place, className = "", text = "") {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  place.append(made);
  return made;
}

function pressed(place, text, act) {
  const button = element("button", place, "", text);
  button.type = "button";
  button.onclick = act;
  return button;
}

class Plot {
  constructor(place) {
    this.shown = 0;
    this.views = {}; // of each kind of picture
    this.facets = { groups: new Set(), sides: new Set(), drawn: null }; // what was chosen; all of them hold together
    this.figure = element("figure", place, "space");
    this.tools = element("div", this.figure, "tools");
    this.tools.setAttribute("role", "toolbar");
    this.tools.setAttribute("aria-label", "What a drag does");
    this.sheet = element("div", this.figure, "sheet");
    this.canvas = element("canvas", this.sheet, "picture");
    this.canvas.setAttribute("role", "img");
    this.canvas.tabIndex = 0;
    this.outline = element("canvas", this.sheet, "outline");
    this.legend = element("div", this.figure, "legend");
    this.ring = element("div", this.sheet, "ring");
    this.tip = element("div", this.sheet, "tip");
    const table = element("table", this.tip);
    this.cells = ["side", "label", "token", "prompt"].map((name) => {
      const row = element("tr", table);
      element("th", row, "", name);
      return element("td", row);
    });
    this.listen();
  }

  listen() {
    const on = (name, act, options) => this.canvas.addEventListener(name, act, options);
    on("pointerdown", (e) => this.hold(e));
    on("pointermove", (e) => (this.held ? this.drag(e) : this.point(e.offsetX, e.offsetY)));
    on("pointerup", (e) => this.release(e));
    on("pointercancel", () => this.drop());
    on("pointerleave", () => this.forget());
    on("dblclick", () => this.look(this.picture.constructor.START));
    on("keydown", (e) => this.press(e));
    on("wheel", (e) => this.zoom(Math.exp((e.deltaMode ? -0.03 : -0.0015) * e.deltaY), e), { passive: false });
    this.resized = new ResizeObserver(() => this.redraw());
    this.resized.observe(this.canvas);
  }

  end() {
    this.resized.disconnect();
    cancelAnimationFrame(this.next);
    this.figure.remove();
  }

  show(data, tell) {
    this.tell = tell;
    const before = this.data;
    this.data = data;
    const look = JSON.stringify([data.groups, data.ink, data.titles]);
    if (before?.stamp !== data.stamp || this.drawn !== look) this.load(data, before?.stamp !== data.stamp);
    this.drawn = look;
    if (before?.plot !== data.plot) {
      this.picture = new PICTURES[data.plot](this.canvas);
      this.tool = data.plot === "2d" && data.tells ? RECTANGLE : this.picture.constructor.MOVE;
      this.equip();
    }
    this.picture.load(this.points);
    this.canvas.setAttribute("aria-label", data.about);
    this.list();
    this.light();
  }

  load(data, other) {
    this.points = new Points(data);
    if (other) this.facets.drawn = null; // those were other points; a label of the legend may still be one of these
    const names = new Set(this.points.names);
    for (const name of this.facets.groups) if (!names.has(name)) this.facets.groups.delete(name);
    const asked = (this.asked = {});
    const kinds = { token: Uint32Array, at: Uint32Array, follows: Uint8Array, prompt: Uint32Array };
    const read = Object.entries(kinds).map(async ([name, kind]) => (asked[name] = await inflated(data[name], kind)));
    Promise.all(read).then(() => (asked.read = true));
  }

  // The buttons that say what a drag does; a picture that tells nobody what was chosen needs none.
  equip() {
    this.tools.replaceChildren();
    this.tools.hidden = !this.data.tells;
    for (const tool of [this.picture.constructor.MOVE, RECTANGLE, LASSO]) {
      const button = pressed(this.tools, tool, () => {
        this.tool = tool;
        this.equip();
      });
      button.setAttribute("aria-pressed", String(this.tool === tool));
    }
    this.clear = pressed(this.tools, "Clear", () => this.choose(null));
    this.count = element("span", this.tools, "count");
    this.count.setAttribute("aria-live", "polite");
    this.canvas.classList.toggle("aims", this.tool !== this.picture.constructor.MOVE);
    this.say();
  }

  list() {
    this.legend.replaceChildren();
    const { groups, sides } = this.facets;
    this.buttons = [["query", "▲ query"], ["key", "● key"]].map(([side, text]) => this.facet(sides, side, text, null));
    element("span", this.legend, "title", this.data.legend);
    this.buttons.push(...this.data.groups.map(([label, colour]) => this.facet(groups, label, label, colour)));
  }

  facet(chosen, name, text, colour) {
    const button = pressed(this.legend, "", () => {
      if (!chosen.delete(name)) chosen.add(name);
      this.light();
      this.report();
    });
    button.title = text;
    if (colour) element("i", button).style.background = colour;
    element("span", button, "", text);
    return { button, chosen, name };
  }

  // Takes the points of a path, or nothing where it is null, and tells the page.
  choose(path) {
    if (!path) {
      this.facets.groups.clear();
      this.facets.sides.clear();
    }
    this.facets.drawn = path && this.picture.within(path);
    this.light();
    this.report();
  }

  // Sets which points are lit: those that every facet in use holds.
  light() {
    const { groups, sides, drawn } = this.facets;
    const { n, keys, group, names } = this.points;
    this.lit = groups.size || sides.size || drawn ? new Uint8Array(n) : null;
    const taken = names.map((name) => !groups.size || groups.has(name));
    for (let i = 0; this.lit && i < n; i++) {
      this.lit[i] = taken[group[i]] && (!sides.size || sides.has(i < keys ? "key" : "query")) && (!drawn || drawn[i]);
    }
    for (const { button, chosen, name } of this.buttons) {
      button.className = chosen.size && !chosen.has(name) ? "dimmed" : "";
      button.setAttribute("aria-pressed", String(chosen.has(name)));
    }
    this.say();
    this.redraw();
  }

  say() {
    const n = this.lit?.reduce((sum, bit) => sum + bit, 0) ?? 0;
    this.clear.disabled = !this.lit;
    this.count.textContent = this.lit ? `${n.toLocaleString("en")} chosen` : "";
  }

  // Tells the page which points are chosen: a bit each, the first point in the highest bit of the first byte.
  report() {
    if (!this.data.tells) return;
    if (!this.lit) return this.tell("chosen", null);
    const packed = new Uint8Array(Math.ceil(this.points.n / 8));
    this.lit.forEach((bit, i) => (packed[i >> 3] |= bit << (7 - (i & 7))));
    this.tell("chosen", { of: this.data.stamp, bits: btoa(String.fromCharCode(...packed)) });
  }

  get view() {
    return (this.views[this.data.plot] ??= { ...this.picture.constructor.START });
  }

  redraw() {
    this.forget();
    cancelAnimationFrame(this.next);
    this.next = requestAnimationFrame(() => this.picture.draw(this.view, this.lit));
  }

  look(view) {
    this.views[this.data.plot] = { ...view };
    this.redraw();
  }

  zoom(factor, event) {
    const seen = this.picture.zoom(this.view, factor);
    if (seen.zoom === this.view.zoom) return; // as far as it goes: the wheel moves the page again
    event.preventDefault();
    this.look(seen);
  }

  press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in ZOOMS) this.zoom(ZOOMS[event.key], event);
    else if (event.key in MOVES) this.look(this.picture.move(this.view, ...MOVES[event.key]));
    else if (event.key === "0") this.look(this.picture.constructor.START);
    else if (event.key === "Escape") this.choose(null);
    else return;
    event.preventDefault();
  }

  hold(event) {
    if (event.button) return;
    this.held = event;
    this.path = this.tool === this.picture.constructor.MOVE ? null : [[event.offsetX, event.offsetY]];
    this.canvas.setPointerCapture(event.pointerId);
    this.canvas.classList.add("held");
    this.forget();
  }

  drag(event) {
    if (!this.path) {
      this.look(this.picture.move(this.view, event.clientX - this.held.clientX, event.clientY - this.held.clientY));
      this.held = event;
      return;
    }
    const [[x, y]] = this.path;
    const [a, b] = [event.offsetX, event.offsetY];
    if (this.tool === LASSO) this.path.push([a, b]);
    else this.path = [[x, y], [a, y], [a, b], [x, b]];
    this.sketch();
  }

  release(event) {
    const { path } = this;
    this.drop();
    const far = path && Math.max(...path.map(([x, y]) => Math.hypot(x - path[0][0], y - path[0][1])));
    if (far >= CLICK) this.choose(path);
    else if (path) this.point(event.offsetX, event.offsetY);
  }

  drop() {
    this.held = this.path = null;
    this.canvas.classList.remove("held");
    this.sketch();
  }

  // Draws the path so far over the picture.
  sketch() {
    const { outline, canvas } = this;
    Object.assign(outline, { width: canvas.width, height: canvas.height });
    if (!this.path) return;
    const g = outline.getContext("2d");
    g.scale(devicePixelRatio, devicePixelRatio);
    Object.assign(g, { strokeStyle: "#D55E00", fillStyle: "rgb(213 94 0 / .12)", lineWidth: 1.5 });
    for (const [x, y] of this.path) g.lineTo(x, y);
    g.closePath();
    g.fill();
    g.stroke();
  }

  // Rings the point under the pointer and tells of it, on the side where there is room.
  point(x, y) {
    const i = this.picture.nearest(x, y);
    if (i < 0 || !this.asked.read) return this.forget();
    const side = i < this.points.keys ? "key" : "query";
    const texts = [side, this.points.names[this.points.group[i]], "", this.asked.prompt[i]];
    this.cells.forEach((cell, j) => (cell.textContent = texts[j]));
    this.quote(i, this.cells[2]);
    this.tip.hidden = this.ring.hidden = false;
    const [left, top] = this.picture.place(i, x, y);
    Object.assign(this.ring.style, { left: `${left}px`, top: `${top}px` });
    const over = left + 16 + this.tip.offsetWidth > this.canvas.clientWidth;
    Object.assign(this.tip.style, { left: `${Math.max(0, over ? left - 16 - this.tip.offsetWidth : left + 16)}px`, top: `${top + 12}px` });
  }

  // Point i's token, marked, among its neighbours.
  quote(i, cell) {
    const { token, at, follows } = this.asked;
    const { texts, reach } = this.data;
    let [start, end] = [at[i], at[i] + 1];
    while (at[i] - start < reach && follows[start]) start--;
    while (end - at[i] <= reach && follows[end]) end++;
    for (let j = start; j < end; j++) element("span", cell, j === at[i] ? "own" : "", texts[token[j]]);
  }

  forget() {
    this.tip.hidden = this.ring.hidden = true;
  }
}
